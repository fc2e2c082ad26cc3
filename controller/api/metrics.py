"""`/metrics` in the Prometheus text format, read from the data plane's own counters at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.dataplane.plane import BUCKETS, Counters, DataPlane
from integrations.tasks.agenda import Agenda
from integrations.tasks.call import CallState
from integrations.tasks.calls import Calls
from xcore.manager import Manager
from xcore.status import is_true

router = APIRouter(tags=["metrics"])


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Give requests, durations, restarts and readiness of every plugin."""
    text = generate_latest(request.app.state.metrics)
    return Response(text, media_type="text/plain; version=0.0.4")


def registry(plane: DataPlane, manager: Manager, lag: Callable[[], float]) -> CollectorRegistry:
    """Make the registry; `lag` gives the event loop's last delay, seconds."""
    made = CollectorRegistry()
    made.register(_Collector(plane, manager, lag))
    return made


class _Collector(Collector):
    def __init__(self, plane: DataPlane, manager: Manager, lag: Callable[[], float]) -> None:
        self._plane, self._manager, self._lag = plane, manager, lag

    def collect(self) -> Iterator[Metric]:
        yield from self._traffic()
        yield from self._plugins()
        yield self._listeners()
        yield GaugeMetricFamily("xcore_loop_lag_seconds", "Delay of the event loop.", value=self._lag())

    def describe(self) -> list[Metric]:
        return []

    def _traffic(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("xcore_requests", "Requests answered.", labels=["plugin", "code"])
        seconds = HistogramMetricFamily(
            "xcore_request_seconds", "Time to the end of an answer.", labels=["plugin"]
        )
        active = GaugeMetricFamily("xcore_requests_active", "Requests under way.", labels=["plugin"])
        waiting = GaugeMetricFamily("xcore_requests_waiting", "Requests queued.", labels=["plugin"])
        for plugin, counters in self._plane.counters.items():
            for code, count in counters.by_status.items():
                requests.add_metric([plugin, str(code)], count)
            seconds.add_metric([plugin], _buckets(counters), counters.seconds)
        for plugin, bulkhead in self._plane.bulkheads.items():
            active.add_metric([plugin], bulkhead.active)
            waiting.add_metric([plugin], bulkhead.waiting)
        yield from (requests, seconds, active, waiting)

    def _plugins(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily("xcore_plugin_ready", "1 when it can serve.", labels=["plugin"])
        restarts = CounterMetricFamily("xcore_plugin_restarts", "Restarts.", labels=["plugin"])
        for name in self._manager.names():
            status = self._manager.get(name)["status"]
            ready.add_metric([name], int(is_true(status, "Ready")))
            restarts.add_metric([name], status["restarts"]["count"])
        yield from (ready, restarts)

    def _listeners(self) -> Metric:
        lost = CounterMetricFamily("xcore_events_lost", "Events a listener lost.", labels=["listener"])
        for name, count in self._manager.bus.lost.items():
            lost.add_metric([name], count)
        return lost


class Work(Collector):
    """What the controller does by itself, beside the registry's own."""

    def __init__(self, agenda: Agenda, calls: Calls) -> None:
        self._agenda, self._calls = agenda, calls

    def collect(self) -> Iterator[Metric]:
        runs = CounterMetricFamily("xcore_task_runs", "Runs that ended.", labels=["task", "state"])
        for (task, state), count in self._agenda.counts.items():
            runs.add_metric([task, state], count)
        yield runs
        running = self._agenda.scheduler.running
        yield GaugeMetricFamily("xcore_tasks_running", "Runs under way.", value=running)
        yield from self._successes()
        calls = CounterMetricFamily("xcore_calls", "Attempts at calls.", labels=["plugin", "state"])
        for (plugin, state), count in self._calls.made.items():
            calls.add_metric([plugin, state], count)
        yield calls
        making = self._calls.scheduler.running
        yield GaugeMetricFamily("xcore_calls_running", "Calls under way.", value=making)
        yield self._kept("xcore_calls_queued", "Calls that wait.", CallState.QUEUED)
        yield self._kept("xcore_calls_dead", "Dead letters.", CallState.DEAD)

    def _successes(self) -> Iterator[Metric]:
        last = GaugeMetricFamily(
            "xcore_task_last_success_timestamp_seconds", "When a run last went well.", labels=["task"]
        )
        took = GaugeMetricFamily("xcore_task_last_success_seconds", "What it took.", labels=["task"])
        for task, success in self._agenda.successes.items():
            last.add_metric([task], success.at)
            took.add_metric([task], success.seconds)
        yield from (last, took)

    def _kept(self, name: str, what: str, state: CallState) -> Metric:
        """As of the last look: a scrape asks no database."""
        counts = self._calls.kept.counts
        return GaugeMetricFamily(name, what, value=None if counts is None else counts.get(state, 0))

    def describe(self) -> list[Metric]:
        return []


def _buckets(counters: Counters) -> list[tuple[str, float]]:
    listed: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip([*map(str, BUCKETS), "+Inf"], counters.in_buckets, strict=True):
        total += count
        listed.append((bound, total))
    return listed
