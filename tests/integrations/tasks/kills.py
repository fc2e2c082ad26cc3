"""Run as `python -m tests.integrations.tasks.kills WHAT`: a task, or a call, whose controller is killed at each step in turn.

A step is each statement and commit of the database, before and after. For each, a new database, a child that is killed there,
and a controller after it. Prints, for each step, what that controller found and did.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

from sqlalchemy import event

from integrations.database.address import address
from integrations.database.database import Database
from integrations.tasks.call import CallState
from tests.integrations.tasks.test_calls import Maker, order
from tests.integrations.tasks.test_scheduler import Controller, Watched
from xcore.testing.clock import FakeClock

START = 1_700_000_000.0


def kill_at(fatal, database):
    left = fatal

    def step(*_):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    engine = database._engine.sync_engine
    for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(engine, moment, step)
    event.listen(engine.pool, "checkin", step)  # after the commit


def note(file, text):
    """Outlives its process."""
    with file.open("a") as opened:
        opened.write(f"{text}\n")
        opened.flush()
        os.fsync(opened.fileno())


def noted(file):
    return file.read_text().split() if file.exists() else []


def tasked(root, database, at):
    one = Controller(Watched(database), FakeClock(at))

    async def do(run):
        note(root / "done", run.key)
        return "done"

    one.add(do)
    return one


async def schedule(root):
    """The task has its row, and waits for its time."""
    async with Database(address(None, root)) as database:
        await tasked(root, database, START).prepare()


async def run_task(root, fatal):
    async with Database(address(None, root)) as database:
        one = tasked(root, database, START + 60)
        kill_at(fatal, database)
        one.start()
        await one.has("Succeeded")
        await one.end()
        os._exit(0)


async def look_at_task(root):
    async with Database(address(None, root)) as database:
        before = noted(root / "done")
        one = tasked(root, database, START + 61)
        found = await one.states()
        one.start()
        await one.passes(lambda: succeeded(one))
        runs = [(run.state, run.due - START) for run in await one.runs()]
        await one.end()
        return {"found": found, "before": before, "done": noted(root / "done"), "runs": runs}


async def succeeded(one):
    return "Succeeded" in await one.states()


async def nothing(root):
    """Nobody has called yet; the database has its tables."""
    async with Database(address(None, root)):
        pass


async def make_call(root, fatal):
    async with Database(address(None, root)) as database:
        one = Maker(Watched(database), FakeClock(START))
        kill_at(fatal, database)
        one.start()
        call = await one.calls.accept(order(key="k"))
        note(root / "accepted", call.id)
        await one.reaches(call, CallState.SUCCEEDED)
        await one.end()
        os._exit(0)


async def look_at_call(root):
    async with Database(address(None, root)) as database:
        one = Maker(Watched(database), FakeClock(START + 1))
        accepted = noted(root / "accepted")
        rows = await one.calls.latest(caller=None, state=None, before=None, limit=10)
        one.start()
        states = [(await one.reaches(row, CallState.SUCCEEDED)).state for row in rows]
        again = await one.calls.accept(order(key="k"))
        await one.end()
        return {"accepted": accepted, "kept": [row.id for row in rows], "states": states, "again": again.id}


WORK = {"task": (schedule, run_task, look_at_task), "call": (nothing, make_call, look_at_call)}


def forked(work):
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(work())
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(what):
    prepare, child, look = WORK[what]
    fatal, ended = 0, -signal.SIGKILL
    while ended == -signal.SIGKILL:
        fatal += 1
        with tempfile.TemporaryDirectory() as root:
            asyncio.run(prepare(Path(root)))
            ended = forked(partial(child, Path(root), fatal))
            print(json.dumps({"ended": ended, **asyncio.run(look(Path(root)))}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
