"""Probing: start-up first, then readiness and liveness, each by its own period and threshold."""

import asyncio
import contextlib
import math

import pytest

from tests.support import manifest
from xcore.errors import UpstreamUnreachable
from xcore.probes import CONNECT, Prober, probes_of
from xcore.testing import Behaviour, FakeClock, FakeEndpoint
from xcore.workload import Phase


@contextlib.asynccontextmanager
async def probed(behaviour=None, **probes):
    """A prober at work: gives (clock, endpoint, what it told with its time since the start)."""
    clock = FakeClock(0.0)
    endpoint = FakeEndpoint(behaviour or Behaviour(), clock, 0.0)
    told = []
    spec = manifest(probes=probes).spec.probes
    prober = Prober(endpoint, spec, clock, lambda phase, why: told.append((clock.time(), phase, why)))
    task = asyncio.create_task(prober.run())
    try:
        yield clock, endpoint, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_plugin_that_is_up_at_once_is_ready_at_once():
    async with probed() as (clock, _, told):
        await clock.advance(0)
        assert told == [(0.0, Phase.Ready, "")]


async def test_start_up_is_asked_often_at_first():
    async with probed(Behaviour(ready_after=0.05)) as (clock, _, told):
        await clock.advance(0.2)
        assert [phase for _, phase, _ in told] == [Phase.Ready]
        assert told[0][0] < 0.1


async def test_start_up_is_asked_once_a_period_in_the_end_and_fails_when_its_window_is_over():
    startup = {"periodSeconds": 1, "failureThreshold": 10}
    async with probed(Behaviour(ready_after=math.inf), startup=startup) as (clock, endpoint, told):
        await clock.advance(9.5)
        assert told == []
        await clock.advance(2)
        assert [phase for _, phase, _ in told] == [Phase.Failed]
        assert told[0][2] == "start-up: /startup answered 503"
        asked = len(endpoint.asked)
        assert asked < 30
        await clock.advance(60)
        assert len(endpoint.asked) == asked


async def test_liveness_is_not_asked_before_start_up_has_ended():
    async with probed(Behaviour(ready_after=30, live=False)) as (clock, endpoint, told):
        await clock.advance(29)
        assert set(endpoint.asked) == {"/startup"}
        assert told == []


async def test_readiness_goes_after_two_failures_and_comes_back_with_one_success():
    async with probed() as (clock, endpoint, told):
        await clock.advance(1)
        endpoint.behaviour.ready = False
        await clock.advance(5)
        assert told[-1][1] is Phase.Ready
        await clock.advance(5)
        assert told[-1][1:] == (Phase.Unready, "readiness: /ready answered 503")
        endpoint.behaviour.ready = True
        await clock.advance(5)
        assert told[-1][1] is Phase.Ready
        assert len(told) == 3


async def test_what_is_up_but_not_ready_is_told_so_without_waiting_for_a_second_failure():
    async with probed(Behaviour(ready=False)) as (clock, _, told):
        await clock.advance(1)
        assert told == [(0.0, Phase.Unready, "readiness: /ready answered 503")]


async def test_a_hung_plugin_fails_its_liveness_within_35_seconds_by_default():
    async with probed() as (clock, endpoint, told):
        await clock.advance(1)
        endpoint.behaviour.live = False
        await clock.advance(34)
        assert told[-1][1:] == (Phase.Failed, "liveness: /live answered 503")


async def test_one_failure_of_liveness_between_successes_is_forgotten():
    async with probed() as (clock, endpoint, told):
        await clock.advance(1)
        for _ in range(5):
            endpoint.behaviour.live = False
            await clock.advance(20)
            endpoint.behaviour.live = True
            await clock.advance(10)
        assert [phase for _, phase, _ in told] == [Phase.Ready]


async def test_each_probe_keeps_its_own_period():
    readiness, liveness = {"periodSeconds": 2}, {"periodSeconds": 7}
    async with probed(readiness=readiness, liveness=liveness) as (clock, endpoint, _):
        await clock.advance(28)
        assert endpoint.asked.count("/ready") == 15
        assert endpoint.asked.count("/live") == 5


@pytest.mark.parametrize("path", ["/startup", "/ready"])
async def test_a_connection_that_fails_counts_as_a_failure_and_says_why(path):
    class Unreachable(FakeEndpoint):
        async def get(self, asked, *, seconds, limit):
            if asked == path:
                raise UpstreamUnreachable("nobody listens")
            return 200, b""

    clock, told = FakeClock(0.0), []
    endpoint = Unreachable(Behaviour(), clock, 0.0)
    probes = manifest(probes={"startup": {"failureThreshold": 3}}).spec.probes
    task = asyncio.create_task(Prober(endpoint, probes, clock, lambda *what: told.append(what)).run())
    await clock.advance(10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(told) == 1
    assert told[0][1].endswith("nobody listens")


def test_the_runner_is_asked_for_its_own_paths():
    spec = manifest().spec
    assert probes_of(spec) == spec.probes


def test_an_image_is_asked_for_the_paths_that_were_set_and_else_only_for_a_connection():
    """Even a path that is the default of the runner's counts once it is written down."""
    probes = {"startup": {"path": "/startup", "periodSeconds": 2}, "liveness": {"failureThreshold": 5}}
    asked = probes_of(manifest(source={"image": "app"}, entrypoint=None, probes=probes).spec)
    assert (asked.startup.path, asked.readiness.path, asked.liveness.path) == ("/startup", CONNECT, CONNECT)
    assert (asked.startup.period_seconds, asked.liveness.failure_threshold) == (2, 5)
