"""A controller killed at any step of an order leaves the old or the new, and no file of neither."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

OLD = {"wanted": "old", "code": "old = 1", "accepted": "Accepted"}
NEW = {"wanted": "new", "code": "new = 2", "accepted": "Accepted"}


@pytest.mark.parametrize(
    ("order", "before", "after", "revisions"),
    [("install", None, NEW, 1), ("update", OLD, NEW, 2), ("delete", OLD, None, 0)],
)
def test_killed_at_any_step_it_is_the_old_or_the_new_and_nothing_else_is_left(
    order, before, after, revisions
):
    command = [sys.executable, "-m", "tests.controller.kills", order]
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=170)
    seen = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [found["ended"] for found in seen] == [-9] * (len(seen) - 1) + [0]
    states = [
        after if is_state(found, after) else before if is_state(found, before) else found for found in seen
    ]
    turn = states.index(after)
    assert states == [before] * turn + [after] * (len(states) - turn), "old until one step, new from it on"
    assert turn > 0, "the first kill is before anything is done"
    assert len(seen) > 5
    for found, state in zip(seen, states, strict=True):
        assert found["files"] == files(found, state), found
    assert len(seen[-1].get("kept", ())) == revisions


def is_state(found, state):
    if state is None:
        return found["wanted"] is None and found["plugins"] == []
    return {key: found.get(key) for key in state} == state


def files(found, state):
    """All that may lie in the state directory."""
    if state is None:
        return [name for name in found["files"] if name == "store/index/folders.json"]
    code = [f"snapshots/{digest}/main.py" for digest in found["kept"]]
    return sorted([*code, "store/index/folders.json", "store/plugins/hello.json"])
