"""Run as `python -m tests.controller.kills ORDER`: carries an order out, killed before each of its steps in turn.

A step is anything done to a file of the state directory, and each statement and commit of the database, before and after. For
each, a new state directory, a child that is killed there,
and a controller after it. Prints, for each step, what that controller wanted and which files were there.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

from sqlalchemy import event

from tests.xcore.test_intake import ME, House, parcel
from xcore.bundle import COLLECT_AFTER

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.utime", "fsync"}
OLD, NEW = "old = 1", "new = 2"


async def prepare(house: House, order: str) -> None:
    async with house.controller():
        await house.sources.refresh()
        if order != "install":
            await house.intake.create(parcel(code=OLD, description="old"), ME)


async def carry_out(house: House, order: str, fatal: int) -> None:
    async with house.controller():
        await house.sources.refresh()
        sent = parcel(code=NEW, description="new")
        kill_at(fatal, house)
        if order == "delete":
            await house.intake.delete("hello", ME)
        else:
            await house.intake.replace("hello", sent, ME)
        os._exit(0)


def kill_at(fatal: int, house: House) -> None:
    left, state = fatal, str(house.state)

    def step(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if event in STEPS and (event == "fsync" or str(args[0]).startswith(state) or -1 not in args):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def synced(descriptor: int, fsync: object = os.fsync) -> None:
        step("fsync", ())
        fsync(descriptor)  # type: ignore[operator]

    os.fsync = synced
    sys.addaudithook(step)
    engine = house.database._engine.sync_engine
    for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(engine, moment, lambda *_: step("fsync", ()))
    event.listen(engine.pool, "checkin", lambda *_: step("fsync", ()))  # after the commit


async def look(house: House) -> dict[str, object]:
    async with house.controller():
        await house.sources.refresh()
        for path in house.ledger.snapshots.directory.glob("*"):
            os.utime(path, (path.stat().st_mtime - COLLECT_AFTER - 1,) * 2)
        await house.sources.refresh()
        known = await house.wanted()
        if known is None:
            return {"wanted": None, "plugins": house.manager.names(), "files": house.files()}
        code = house.ledger.snapshots.path(known.newest.digest) / "main.py"
        manifest = house.manager.get("hello")
        return {
            "wanted": manifest["spec"]["description"],
            "code": code.read_text(),
            "accepted": manifest["status"]["conditions"][0]["reason"],
            "kept": sorted(kept.digest for kept in known.revisions),
            "files": house.files(),
        }


def forked(work) -> int:  # type: ignore[no-untyped-def]
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(work())
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(order: str) -> None:
    fatal, ended = 0, -signal.SIGKILL
    while ended == -signal.SIGKILL:
        fatal += 1
        with tempfile.TemporaryDirectory() as root:
            asyncio.run(prepare(House(Path(root)), order))
            ended = forked(partial(carry_out, House(Path(root)), order, fatal))
            print(json.dumps({"ended": ended, **asyncio.run(look(House(Path(root))))}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
