"""What the cluster tells of pods becomes instances, ends and reasons, each end counted once."""

import json
from dataclasses import replace

import pytest

from tests.support import manifest
from xcore.errors import ImagePull, SecretNotFound, Unschedulable, WorkloadRejected
from xcore.restart import EXHAUSTED
from xcore.runtimes.kubernetes.found import (
    complete,
    ends,
    failure_of,
    instance_of,
    leaves,
    living,
    missing_of,
)
from xcore.runtimes.kubernetes.judge import judged
from xcore.runtimes.kubernetes.objects import PLUGIN, RESTARTED, REVISION
from xcore.runtimes.kubernetes.probe import Verdict
from xcore.runtimes.kubernetes.state import STATE, State, counted, read, write
from xcore.workload import Phase, Workload

BEGUN, ENDED = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
RUNNING = {"running": {"startedAt": BEGUN}}


def terminated(code, reason="Error", message=""):
    times = {"startedAt": BEGUN, "finishedAt": ENDED}
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, **times}}


def pod(state=RUNNING, *, last=None, restarts=0, ready=True, revision="new", uid="u1", **meta):
    container = {
        "name": "plugin",
        "restartCount": restarts,
        "started": ready,
        "state": state,
        "lastState": last or {},
    }
    return {
        "metadata": {
            "name": f"xcore-hello-{uid}",
            "uid": uid,
            "labels": {PLUGIN: "hello"},
            "annotations": {REVISION: revision},
            "creationTimestamp": BEGUN,
            **meta,
        },
        "spec": {"containers": [{"name": "plugin", "ports": [{"containerPort": 8080}]}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": BEGUN}],
            "containerStatuses": [container],
        },
    }


def deployment(
    revision="new", *, replicas=1, ready=1, updated=1, total=1, restarted="", state=None, conditions=()
):
    marks = {REVISION: revision, **({RESTARTED: restarted} if restarted else {})}
    return {
        "metadata": {"generation": 1, "annotations": {STATE: write(state)} if state else {}},
        "spec": {"replicas": replicas, "template": {"metadata": {"annotations": marks}}},
        "status": {
            "observedGeneration": 1,
            "replicas": total,
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "conditions": list(conditions),
        },
    }


def workload(revision="new", **spec):
    return Workload(manifest(**{"source": {"configMap": "code"}, **spec}), revision, 1, None)


@pytest.mark.parametrize(
    ("found", "phase"),
    [
        (pod(), Phase.Ready),
        (pod(ready=False), Phase.Starting),
        (pod(deletionTimestamp=ENDED), Phase.Ending),
    ],
)
def test_a_pod_is_an_instance_in_a_phase(found, phase):
    instance = instance_of(found)
    assert (instance.plugin, instance.revision, instance.phase) == ("hello", "new", phase)
    assert (instance.endpoint.host, instance.endpoint.port) == ("10.0.0.1", 8080)


def missed(uid):
    """A pod on a node the control plane has not heard of: as it was, but for the one condition."""
    found = pod(uid=uid, ready=False)
    found["status"]["containerStatuses"][0]["started"] = True
    found["status"]["conditions"].append({"type": "ContainersReady", "status": "True"})
    return found


def test_pods_that_the_control_plane_misses_serve_on_unless_others_do():
    """A node it lost sight of for a moment costs nobody an answer; one that is lost gives way to the others."""
    assert [i.phase for i in living([missed("u1"), missed("u2")])] == [Phase.Ready, Phase.Ready]
    assert [i.phase for i in living([missed("u1"), pod(uid="u2")])] == [Phase.Unready, Phase.Ready]
    assert [i.phase for i in living([pod(ready=False)])] == [Phase.Starting]


def test_a_container_that_started_again_is_another_instance():
    """Nothing of the process before is left: connections to it are of no use."""
    assert instance_of(pod()).id != instance_of(pod(restarts=1, last=terminated(3))).id


@pytest.mark.parametrize(
    ("last", "reason", "code"),
    [
        (terminated(0, "Completed"), "Completed", 0),
        (terminated(3), "Error", 3),
        (terminated(137, "OOMKilled"), "OutOfMemory", 137),
        (terminated(139), "Signal", 139),
    ],
)
def test_how_a_container_ended_is_told(last, reason, code):
    ((number, ended),) = ends(pod(last=last, restarts=1))
    assert (number, ended.reason.value, ended.code) == (1, reason, code)


def test_its_last_line_is_the_message():
    ((_, ended),) = ends(pod(last=terminated(70, message="Traceback\nImportError: no\x1b[1m\n"), restarts=1))
    assert ended.message == "ImportError: no\\x1b[1m"


def test_who_was_told_to_end_has_not_failed():
    assert list(ends(pod(terminated(143), deletionTimestamp=ENDED))) == []
    assert leaves(pod(deletionTimestamp=ENDED))


def test_each_end_is_counted_once_however_often_and_late_it_is_seen():
    """Also the one after which the next start is waited for, and across whoever counts."""
    policy = workload().manifest.spec.restart
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    state = State()
    for found, count in [
        (pod(), 0),
        (pod(terminated(3)), 1),
        (pod(waiting, last=terminated(3)), 1),
        (pod(restarts=1, last=terminated(3)), 1),
        (pod(waiting, restarts=1, last=terminated(137, "OOMKilled")), 2),
        (pod(restarts=4, last=terminated(3)), 4),
    ]:
        for _ in range(3):
            state = counted(read(deployment(state=state)), [found], policy)
        assert state.restarts.count == count
    assert counted(state, [], policy).seen == {}


def test_a_spent_budget_holds():
    policy = workload(restart={"maxRestarts": 2}).manifest.spec.restart
    state = counted(State(), [pod(restarts=3, last=terminated(3))], policy)
    assert state.restarts.held == EXHAUSTED


def test_what_is_remembered_is_read_back_whole_and_nonsense_is_as_good_as_new():
    policy = workload().manifest.spec.restart
    state = counted(State("served", "yesterday", ("new", "why"), Verdict("p", 1.0, closed=True)), [], policy)
    state = replace(state, seen={"u": 3})
    assert read(deployment(state=state)) == state
    for text in ("{", "[]", "7", json.dumps({"restarts": 3}), json.dumps({"verdict": 3})):
        assert read({"metadata": {"annotations": {STATE: text}}}) == State()


def test_a_revision_that_is_wholly_ready_is_the_one_to_go_back_to():
    assert judged(workload(), deployment(), [pod()], State()).served == "new"
    assert judged(workload(), deployment(ready=0), [pod(ready=False)], State()).served == ""
    assert not complete(deployment(total=2)), "an older pod is still there"


def test_what_serves_is_gone_back_to_also_when_another_is_wanted_at_once():
    """The next revision may be wanted before anybody looked at the one that became ready."""
    assert judged(workload("newer"), deployment(), [pod()], State()).served == "new"


def test_a_revision_that_ends_before_it_is_ready_is_given_up_where_an_older_one_serves():
    """With its last line as the reason; where none serves, or Hold is wanted, it is tried on."""
    old, broken = pod(revision="old", uid="u0"), pod(terminated(70, message="ImportError: no"), ready=False)
    going = deployment(ready=1, total=2)
    assert judged(workload(), going, [old, broken], State("old")).broken == ("new", "ImportError: no")
    assert judged(workload(), going, [broken], State()).broken == ("", "")
    assert judged(workload(update={"onFailure": "Hold"}), going, [old, broken], State("old")).broken == (
        "",
        "",
    )


def test_a_revision_that_is_late_is_given_up():
    late = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    state = judged(workload(), deployment(ready=1, total=2, conditions=late), [], State("old"))
    assert state.broken == ("new", "it did not become ready in time")


def test_another_revision_and_a_restart_by_command_forgive():
    policy = workload(restart={"maxRestarts": 0}).manifest.spec.restart
    spent = counted(State(), [pod(restarts=1, last=terminated(3))], policy)
    assert spent.restarts.held
    assert not judged(workload("newer"), deployment(), [], spent).restarts.held
    asked = judged(workload(), deployment(restarted="now"), [], spent)
    assert not asked.restarts.held
    assert asked.restarted == "now"
    assert judged(workload(), deployment(), [], spent).restarts.held


@pytest.mark.parametrize(
    ("called_unready", "started", "served"),
    [
        ("2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z", False),  # its node was slow to hear of it
        ("2026-01-01T00:00:03Z", "2026-01-01T00:00:03Z", False),
        ("2026-01-01T00:01:00Z", "2026-01-01T00:00:03Z", True),
        ("2026-01-01T00:00:02Z", "1970-01-01T00:00:00Z", False),  # runc could not start it
    ],
)
def test_an_end_is_of_one_that_served_if_it_was_called_unready_after_its_start(
    called_unready, started, served
):
    """What never was ready is known for that, also where its node was slow: so a broken revision is given up at once."""
    found = pod(terminated(3), ready=False)
    found["status"]["containerStatuses"][0]["state"]["terminated"]["startedAt"] = started
    found["status"]["conditions"][0]["lastTransitionTime"] = called_unready
    ((_, ended),) = ends(found)
    assert ended.served is served


@pytest.mark.parametrize(
    ("found", "error", "says"),
    [
        (
            pod({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}, ready=False),
            ImagePull,
            "no such",
        ),
        (
            pod({"waiting": {"reason": "CreateContainerConfigError", "message": "no key a"}}, ready=False),
            SecretNotFound,
            "key a",
        ),
    ],
)
def test_what_a_pod_waits_for_is_told(found, error, says):
    failure = failure_of(deployment(), [found])
    assert type(failure) is error
    assert says in failure.detail


def test_a_pod_without_a_node_and_a_refused_pod_are_told_in_the_clusters_words():
    lost = pod(ready=False)
    lost["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available",
        }
    ]
    assert isinstance(failure_of(None, [lost]), Unschedulable)
    quota = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]
    failure = failure_of(deployment(conditions=quota), [])
    assert type(failure) is WorkloadRejected
    assert failure.detail == "exceeded quota"


def test_a_missing_secret_is_read_from_the_events():
    event = {
        "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed for volume "s" : secret "mail" not found',
    }
    assert missing_of([event]).detail == 'there is no secret "mail"'
    assert missing_of([{"reason": "Pulled", "message": 'secret "mail"'}]) is None
