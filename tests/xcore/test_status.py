"""The status: each condition with the reason that the contract gives it."""

import pytest

from tests.xcore.kernel import make_workload
from xcore.clock import rfc3339
from xcore.errors import (
    ImagePull,
    InvalidSpec,
    Problem,
    RouteConflict,
    RuntimeUnavailable,
    SecretNotFound,
    WorkloadRejected,
)
from xcore.restart import Restarts
from xcore.runtimes.seams import Observed
from xcore.status import Facts, build, is_true, told
from xcore.workload import Exit, ExitReason, Instance, Phase

NOW = 1_700_000_000.0
WANTED = make_workload()
ENFORCED = ("True", "Enforced", "no network")


def instance(phase=Phase.Ready, workload=WANTED, message=""):
    return Instance("1", "hello", workload.revision, 1, NOW - 60, None, phase=phase, message=message)


def observed(*instances, **more):
    fields = {
        "plugin": "hello",
        "runtime": "fake",
        "wanted": WANTED,
        "suspended": False,
        "instances": instances,
        "restarts": Restarts(),
        "wanted_at": NOW - 1,
        "settled": any(i.phase is Phase.Ready for i in instances),
    }
    return Observed(**{**fields, **more})


def facts(seen=None, **more):
    fields = {"name": "hello", "generation": 3, "refused": None, "suspended": False, "isolated": ENFORCED}
    return Facts(**{**fields, "observed": seen, **more})


def conditions(seen=None, **more):
    return {c["type"]: c for c in build(facts(seen, **more), NOW)["conditions"]}


def reason(condition, seen=None, **more):
    found = conditions(seen, **more)[condition]
    return found["status"], found["reason"]


def crashed(why=ExitReason.Error, *, consecutive=1, served=True, **more):
    last = Exit(why, 1, NOW - 5, "boom", served=served)
    return observed(restarts=Restarts(count=1, recent=(NOW - 5,), consecutive=consecutive, last=last, **more))


def test_a_plugin_that_serves_is_true_in_every_condition():
    seen = conditions(observed(instance()))
    assert {(name, c["status"], c["reason"]) for name, c in seen.items()} == {
        ("Accepted", "True", "Accepted"),
        ("ResolvedRefs", "True", "ResolvedRefs"),
        ("Programmed", "True", "Programmed"),
        ("ImageVerified", "True", "NotRequired"),
        ("NetworkIsolated", "True", "Enforced"),
        ("Progressing", "True", "NewRevisionAvailable"),
        ("Active", "True", "Serving"),
        ("Ready", "True", "Ready"),
    }
    assert {c["observedGeneration"] for c in seen.values()} == {3}


def test_the_figures_beside_the_conditions_are_those_observed():
    other = make_workload(code="b")
    status = build(
        facts(observed(instance(), instance(Phase.Starting, other), wanted=other), image="img"), NOW
    )
    status.pop("conditions")
    assert status == {
        "observedGeneration": 3,
        "replicas": 2,
        "readyReplicas": 1,
        "endpoint": "/app/hello",
        "runtime": "fake",
        "image": "img",
        "currentRevision": WANTED.revision[:12],
        "updateRevision": other.revision[:12],
        "securityRating": 1,
        "actions": [],
        "restarts": {
            "count": 0,
            "inWindow": 0,
            "lastReason": None,
            "lastExitCode": None,
            "lastTime": None,
            "nextTime": None,
        },
    }


def test_where_instances_are_pods_it_says_by_which_labels():
    """For autoscalers; nowhere else."""
    assert build(facts(observed(instance(), selector="a=b")), NOW)["selector"] == "a=b"
    assert "selector" not in build(facts(observed(instance())), NOW)


def test_restarts_are_told_with_the_last_end_and_the_next_start():
    seen = crashed(next_time=NOW + 4)
    assert build(facts(seen), NOW)["restarts"] == {
        "count": 1,
        "inWindow": 1,
        "lastReason": "Error",
        "lastExitCode": 1,
        "lastTime": "2023-11-14T22:13:15.000Z",
        "nextTime": "2023-11-14T22:13:24.000Z",
    }
    assert build(facts(seen), NOW + 5)["restarts"]["nextTime"] is None
    assert build(facts(seen), NOW + 4000)["restarts"]["inWindow"] == 0


@pytest.mark.parametrize(
    "error", [RouteConflict("taken"), InvalidSpec("bad", [Problem("spec.version", "must be a string")])]
)
def test_what_was_refused_says_why_and_what_runs_stays_ready(error):
    seen = conditions(observed(instance()), refused=error)
    assert (seen["Accepted"]["status"], seen["Accepted"]["reason"]) == ("False", error.reason)
    assert seen["Accepted"]["message"] == told(error)
    assert seen["Ready"]["status"] == "True"


def test_a_refused_folder_that_runs_nothing_is_not_ready_for_that_reason():
    assert reason("Ready", None, refused=RouteConflict("taken")) == ("False", "RouteConflict")
    shown = {"Accepted", "ResolvedRefs", "ImageVerified", "Ready"}
    assert set(conditions(None, refused=RouteConflict("taken"))) == shown


@pytest.mark.parametrize(
    ("error", "condition"),
    [(SecretNotFound("no secret"), "ResolvedRefs"), (ImagePull("no image"), "ImageVerified")],
)
def test_what_a_manifest_refers_to_is_told_in_a_condition_of_its_own(error, condition):
    seen = conditions(None, refused=error)
    assert (seen[condition]["status"], seen[condition]["reason"]) == ("False", error.reason)
    assert seen["Accepted"]["status"] == "True"
    assert seen["Ready"]["reason"] == error.reason
    assert reason("Ready", None) == ("False", "Starting")


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (observed(), "Starting"),
        (observed(instance(Phase.Starting)), "Starting"),
        (observed(instance(Phase.Unready)), "ProbeFailing"),
        (crashed(), "Starting"),
        (crashed(consecutive=2), "CrashLooping"),
        (crashed(served=False), "StartupFailed"),
        (crashed(ExitReason.OutOfMemory), "OutOfMemory"),
        (crashed(ExitReason.ProbeFailed, consecutive=3), "CrashLooping"),
        (crashed(ExitReason.Evicted, consecutive=3, served=False), "Starting"),
        (crashed(ExitReason.Removed, consecutive=0), "Starting"),
        (crashed(held="RestartBudgetExhausted", consecutive=11), "RestartBudgetExhausted"),
        (crashed(ExitReason.Completed, held="Exited"), "Exited"),
        (observed(failure=WorkloadRejected("no such runtime")), "WorkloadRejected"),
        (observed(failure=ImagePull("not there")), "ImagePull"),
    ],
)
def test_what_is_not_ready_says_why(seen, expected):
    assert reason("Ready", seen) == ("False", expected)


def test_why_an_instance_ended_is_in_the_message():
    assert conditions(crashed(consecutive=2))["Ready"]["message"] == (
        "the last instance ended: Error (exit code 1): boom"
    )
    last = Exit(ExitReason.Removed, None, NOW)
    seen = observed(restarts=Restarts(consecutive=1, last=last, held="RestartBudgetExhausted"))
    assert conditions(seen)["Ready"]["message"] == "the last instance ended: Removed"
    assert conditions(observed(restarts=Restarts(held="Exited")))["Ready"]["message"] == ""
    assert conditions(observed(instance(Phase.Unready, message="503")))["Ready"]["message"] == "503"


def test_while_the_engine_is_away_what_serves_is_ready_and_what_is_not_known_is_unknown():
    away = RuntimeUnavailable("no answer")
    serving = observed(instance(), failure=away)
    assert reason("Ready", serving) == ("True", "Ready")
    assert reason("Programmed", serving) == ("Unknown", "RuntimeUnavailable")
    assert reason("Ready", observed(failure=away)) == ("Unknown", "RuntimeUnavailable")


def test_a_refusal_of_the_engine_is_told_in_the_condition_it_belongs_to():
    assert reason("Programmed", observed(failure=WorkloadRejected("no"))) == ("False", "WorkloadRejected")
    assert reason("Programmed", observed(failure=ImagePull("no"))) == ("False", "WorkloadRejected")
    assert reason("ImageVerified", observed(failure=ImagePull("no"))) == ("False", "ImagePull")
    assert reason("ImageVerified", observed(failure=WorkloadRejected("no"))) == ("True", "NotRequired")


def test_a_suspended_plugin_says_so_and_progresses_nowhere():
    seen = observed(suspended=True)
    assert reason("Ready", seen, suspended=True) == ("False", "Suspended")
    assert reason("Active", seen, suspended=True) == ("False", "Suspended")
    assert reason("Progressing", seen, suspended=True) == ("Unknown", "Suspended")


def test_progress_is_told_from_rolling_out_to_the_end_of_its_deadline():
    assert reason("Progressing", observed(instance(Phase.Starting))) == ("Unknown", "RollingOut")
    late = observed(instance(Phase.Starting), wanted_at=NOW - 121)
    assert reason("Progressing", late) == ("False", "ProgressDeadlineExceeded")
    back = conditions(observed(instance(), settled=False, broken="ImportError"))
    assert (back["Progressing"]["status"], back["Progressing"]["reason"]) == ("False", "RolledBack")
    assert "ImportError" in back["Progressing"]["message"]
    assert back["Ready"]["status"] == "True"


def test_a_transition_is_dated_when_the_status_changes_and_not_when_the_reason_does():
    first = build(facts(observed()), NOW)
    second = build(facts(crashed(consecutive=2)), NOW + 10, first)
    third = build(facts(observed(instance())), NOW + 20, second)

    def since(status, kind="Ready"):
        return next(c["lastTransitionTime"] for c in status["conditions"] if c["type"] == kind)

    assert since(first) == since(second) == rfc3339(NOW)
    assert since(third) == rfc3339(NOW + 20)
    assert since(third, "Accepted") == rfc3339(NOW)


def test_whether_a_condition_is_true_can_be_asked():
    status = build(facts(observed(instance())), NOW)
    assert is_true(status, "Ready")
    assert not is_true(status, "Unheard")
    assert not is_true(build(facts(observed()), NOW), "Ready")


def test_an_error_is_told_with_its_first_five_problems():
    problems = [Problem(f"spec.{n}", "is wrong") for n in range(7)]
    assert told(InvalidSpec("bad", problems)).count("is wrong") == 5
    assert told(RouteConflict("taken")) == "taken"
