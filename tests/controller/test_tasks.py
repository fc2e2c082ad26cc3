"""A real controller does by the clock what plugins and it itself have put on it."""

import json
import signal
import subprocess

import httpx
import pytest

from tests.harness import KEY, XCORE, Controller, until
from tests.support import write_plugin

TIDY = '''
import asyncio, os, pathlib
from xcore.plugin import Plugin, action

class Hello(Plugin):
    @action
    async def tidy(self, days: int = 1) -> str:
        """Tidy up."""
        return f"tidied {days} days"

    @action
    async def fail(self) -> str:
        """Fail."""
        raise ValueError("no such thing")

    @action
    async def slow(self) -> str:
        """Take long."""
        await asyncio.sleep(60)
        return "slept"
'''
YEARLY = {"cron": "0 0 1 1 *"}
SCHEDULES = [
    {"action": "tidy", "arguments": {"days": 3}, **YEARLY},
    {"action": "tidy", "everySeconds": 10, "arguments": {"days": 7}},
    {"action": "fail", **YEARLY},
    {"action": "gone", **YEARLY},
    {"action": "slow", "timeoutSeconds": 300, **YEARLY},
]


@pytest.fixture(scope="module")
def controller(running):
    write_plugin(running.plugins / "hello", TIDY, schedules=SCHEDULES)
    running.wait_ready("hello")
    until(lambda: "hello.tidy" in ids(running), 30, "its tasks")
    return running


def ids(controller):
    return [each["id"] for each in controller.request("GET", "/api/v1/tasks").json["items"]]


def runs(controller, task):
    return controller.request("GET", f"/api/v1/tasks/{task}/runs").json["items"]


def run(controller, task, **options):
    """Have it run now; returns the run once it ended."""
    before = max([each["run"] for each in runs(controller, task)], default=0)
    answer = controller.request("POST", f"/api/v1/tasks/{task}/run", **options)
    assert answer.status == 202, answer.content
    return until(lambda: ended(controller, task, before), 30, f"the end of {task}")


def ended(controller, task, before=0):
    return next(
        (each for each in runs(controller, task) if each["run"] > before and each["ended"] is not None), None
    )


def xcore(controller, *arguments):
    environment = {"XCORE_URL": controller.url, "XCORE_KEY": KEY, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [XCORE, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_schedule_calls_its_action_by_itself(controller):
    """Without anybody asking, with its arguments; what came of it is kept."""
    done = until(lambda: ended(controller, "hello.tidy.2"), 40, "a run by the clock")
    assert (done["state"], done["by"], done["output"]) == ("Succeeded", "clock", '"tidied 7 days"')


def test_all_there_is_to_do_is_listed(controller):
    """What is built in and what plugins have scheduled, page by page, each with its times and its next time."""
    assert {"retention", "sweep", "hello.tidy", "hello.tidy.2", "hello.fail", "hello.slow"} <= set(
        ids(controller)
    )
    first = controller.request("GET", "/api/v1/tasks?limit=2").json
    second = controller.request(
        "GET", f"/api/v1/tasks?limit=100&continue={first['metadata']['continue']}"
    ).json
    assert [each["id"] for each in (*first["items"], *second["items"])] == sorted(ids(controller))
    assert second["metadata"]["continue"] == ""
    one = controller.request("GET", "/api/v1/tasks/hello.tidy").json
    assert (one["times"], one["state"], one["plugin"]) == ("0 0 1 1 * (UTC)", "Waiting", "hello")
    assert one["nextTime"].endswith("-01-01T00:00:00.000Z")
    listed = controller.request("GET", "/api/v1/tasks?plugin=hello").json["items"]
    assert {each["plugin"] for each in listed} == {"hello"}


def test_a_task_is_run_when_somebody_asks(controller):
    done = run(controller, "hello.tidy")
    assert (done["state"], done["output"], done["by"]) == ("Succeeded", '"tidied 3 days"', "admin")
    assert done["seconds"] < 10


def test_an_order_that_comes_twice_is_one_run(controller):
    key = {"headers": {"Idempotency-Key": "once"}}
    done = run(controller, "hello.tidy", **key)
    again = controller.request("POST", "/api/v1/tasks/hello.tidy/run", **key)
    assert again.status == 202
    assert runs(controller, "hello.tidy")[0]["run"] == done["run"]


@pytest.mark.parametrize(
    ("task", "says"), [("fail", "the action fail raised an exception"), ("gone", "gone")]
)
def test_what_goes_wrong_is_told(controller, task, says):
    """The plugin's failure, as its callers are told it; no stack, no path."""
    done = run(controller, f"hello.{task}")
    assert done["state"] == "Failed"
    assert says in f"{done['reason']} {done['detail']}"
    assert "Traceback" not in json.dumps(done)


def test_what_is_built_in_can_be_run_too(controller):
    assert "runs of tasks older than 30 days: 0" in run(controller, "retention")["output"]
    assert run(controller, "sweep")["output"] == "nothing was left that nobody wants"
    assert run(controller, "expiry")["output"] == "no key ends within 14 days"
    copy = run(controller, "backup")["output"].partition(":")[0]
    assert (controller.state / "backups" / copy).stat().st_size > 0


def test_a_task_that_runs_is_not_begun_a_second_time(controller):
    controller.request("POST", "/api/v1/tasks/hello.slow/run")
    until(lambda: controller.request("GET", "/api/v1/tasks/hello.slow").json["state"] == "Running")
    answer = controller.request("POST", "/api/v1/tasks/hello.slow/run")
    assert (answer.status, answer.reason) == (409, "Conflict")
    assert "is running" in answer.json["detail"]


@pytest.mark.parametrize("path", ["none", "none/runs", "hello.none", "%00", "..%2f", "a" * 5000])
def test_a_task_that_is_not_there_is_told(controller, path):
    answer = controller.request("GET", f"/api/v1/tasks/{path}")
    assert answer.status in {400, 404}
    assert answer.reason in {"TaskNotFound", "NotFound", "MalformedRequest"}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1000000000", "continue=" + "a" * 200, "limit=x", "plugin=" + "b" * 64]
)
def test_a_page_out_of_bounds_is_refused(controller, query):
    answer = controller.request("GET", f"/api/v1/tasks?{query}")
    assert (answer.status, answer.reason) == (422, "InvalidArguments")


@pytest.mark.parametrize("query", ["continue=0", "continue=99999999999999", "limit=101"])
def test_a_page_of_runs_out_of_bounds_is_refused(controller, query):
    assert controller.request("GET", f"/api/v1/tasks/sweep/runs?{query}").status == 422


def test_metrics_count_what_was_done(controller):
    run(controller, "sweep")
    text = controller.request("GET", "/metrics").content.decode()
    assert 'xcore_task_runs_total{state="Succeeded",task="sweep"}' in text
    assert "xcore_tasks_running" in text
    assert 'xcore_task_last_success_timestamp_seconds{task="sweep"}' in text
    assert 'xcore_task_last_success_seconds{task="sweep"}' in text


def test_the_command_shows_and_runs_tasks(controller):
    """`xcore tasks`, `xcore tasks runs TASK`, `xcore tasks run TASK`: for people, and with -o json for programs."""
    code, text, _ = xcore(controller, "tasks")
    assert (code, "hello.tidy" in text, "17 3 * * * (UTC)" in text) == (0, True, True)
    code, text, _ = xcore(controller, "tasks", "run", "hello.tidy", "-o", "json")
    assert (code, json.loads(text)["state"]) == (0, "Succeeded")
    code, text, _ = xcore(controller, "tasks", "runs", "hello.tidy")
    assert (code, '"tidied 3 days"' in text) == (0, True)
    assert xcore(controller, "tasks", "run", "hello.fail")[0] == 1
    assert xcore(controller, "tasks", "run", "nothing")[0] == 3
    assert xcore(controller, "tasks", "run")[0] == 2
    assert xcore(controller, "tasks", "list", "hello.tidy")[0] == 2


def test_a_suspended_plugin_is_not_called(controller):
    controller.request("POST", "/api/v1/plugins/hello/suspend")
    until(
        lambda: controller.request("GET", "/api/v1/tasks/hello.fail").json["state"] == "Suspended",
        what="its tasks being suspended",
    )
    until(lambda: controller.request("POST", "/api/v1/tasks/hello.fail/run").status == 409)
    controller.request("POST", "/api/v1/plugins/hello/resume")
    controller.wait_ready("hello")
    until(lambda: controller.request("GET", "/api/v1/tasks/hello.fail").json["state"] == "Waiting")


def test_a_schedule_that_never_comes_is_refused(running):
    write_plugin(running.plugins / "never", TIDY, schedules=[{"action": "tidy", "cron": "0 0 30 2 *"}])
    until(lambda: running.request("GET", "/api/v1/plugins/never").status == 200)
    _, reason, message = running.condition("never", "Accepted")
    assert reason == "InvalidSpec"
    assert "spec.schedules[0].cron: line 1: must be five cron fields" in message


@pytest.fixture
def own(open_dir):
    """A controller that a test may end."""
    (open_dir / "plugins").mkdir()
    write_plugin(open_dir / "plugins" / "hello", TIDY, schedules=SCHEDULES)
    made = Controller(open_dir / "plugins", open_dir / "state", {"XCORE_RUNTIME": "process"})
    made.start()
    made.wait_ready("hello")
    until(lambda: "hello.slow" in ids(made), 30, "its tasks")
    yield made
    if made.process.poll() is None:
        made.kill()


def begin_slow(controller):
    controller.request("POST", "/api/v1/tasks/hello.slow/run")
    until(lambda: [each["state"] for each in runs(controller, "hello.slow")][:1] == ["Running"])


def test_the_end_of_the_controller_reaches_a_task_that_runs(own):
    """SIGTERM: the task is told and has its grace, is recorded as interrupted, then the rest ends; exit 0, in that order."""
    begin_slow(own)
    own.process.send_signal(signal.SIGTERM)
    assert own.process.wait(30) == 0
    log = own.log.read_text()
    steps = [
        "asked to end",
        "tasks are told to end: hello.slow",
        "task hello.slow: Interrupted",
        "background work has ended",
        "finishing requests",
        "the database is closed",
    ]
    assert sorted(steps, key=log.index) == steps
    own.start()
    states = until(lambda: (s := [each["state"] for each in runs(own, "hello.slow")]) and len(s) > 1 and s)
    assert states == ["Running", "Interrupted"]  # what was not done is begun again


def test_a_killed_controller_leaves_before_or_after(own):
    """SIGKILL in a run: the next start writes down that it was interrupted, and begins it again."""
    begin_slow(own)
    own.kill()
    own.start()
    states = until(lambda: (s := [each["state"] for each in runs(own, "hello.slow")]) and len(s) > 1 and s)
    assert states == ["Running", "Interrupted"]


def test_a_key_that_is_for_other_plugins_sees_no_task(controller):
    """Neither those of a plugin it is not for, nor what is built in; a viewer sees tasks and runs none."""
    keys = {
        "other": {"name": "o", "role": "operator", "plugins": ["other"]},
        "viewer": {"name": "v", "role": "viewer"},
    }
    clients = {}
    for who, wish in keys.items():
        key = controller.request("POST", "/api/v1/keys", json=wish).json["key"]
        clients[who] = httpx.Client(base_url=controller.url, headers={"Authorization": f"Bearer {key}"})
    with clients["other"] as other, clients["viewer"] as viewer:
        assert other.get("/api/v1/tasks").json()["items"] == []
        assert other.get("/api/v1/tasks/hello.tidy").status_code == 404
        assert other.get("/api/v1/tasks/retention/runs").status_code == 404
        assert other.post("/api/v1/tasks/hello.tidy/run").status_code == 404
        assert viewer.get("/api/v1/tasks/hello.tidy").status_code == 200
        assert viewer.post("/api/v1/tasks/hello.tidy/run").status_code == 403
