"""A controller killed at any step of a run, or of a call, leaves what the next one ends well: nothing is lost or half done."""

import json
import subprocess
import sys


def killed(what):
    command = [sys.executable, "-m", "tests.integrations.tasks.kills", what]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=170)
    seen = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [found["ended"] for found in seen] == [-9] * (len(seen) - 1) + [0]
    return seen


def test_killed_at_any_step_a_task_is_run_for_its_time():
    """Before or after: once, or once more when it was under way, with the key by which a plugin knows it again."""
    seen = killed("task")
    for found in seen:
        of_first = [state for state, due in found["runs"] if due == 60]
        assert of_first in (["Succeeded"], ["Interrupted", "Succeeded"]), found
        assert "Running" not in [state for state, _ in found["runs"]]
        first = [key for key in found["done"] if key == "work@1700000060"]
        assert 1 <= len(first) <= 2, found
        if found["found"] == ["Succeeded"]:
            assert first == found["before"], found
    assert [] in [found["found"] for found in seen]
    assert ["Running"] in [found["found"] for found in seen]
    assert seen[-1]["found"] == ["Succeeded"]


def test_killed_at_any_step_an_accepted_call_is_made_once_known():
    """What was accepted is made; what was not is there or it is not; the same key finds the same call."""
    seen = killed("call")
    for found in seen:
        assert set(found["accepted"]) <= set(found["kept"]), found
        assert len(found["kept"]) <= 1
        assert set(found["states"]) <= {"Succeeded"}
        assert found["kept"] in ([], [found["again"]])
    assert seen[0]["kept"] == []
    assert seen[-1]["accepted"] == seen[-1]["kept"]
