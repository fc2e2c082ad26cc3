"""What the controller does by itself, at its hours: letting go of what is old and of what nobody wants, copies, warnings."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from integrations.database.file import back_up
from integrations.database.tables_keys import KeyRow
from integrations.tasks.task import ERROR_OF_OURS, Run, Task
from xcore.clock import Clock, rfc3339
from xcore.errors import Conflict, StorageFull, XcoreError
from xcore.times import Cron

# Lets go of what is older than a time, epoch seconds, until the event is set; gives how many.
Forget = Callable[[float, asyncio.Event], Awaitable[int]]
# Gives keys that will have ended by a time, at most so many.
Ending = Callable[[float, int], Awaitable[Sequence[KeyRow]]]
DAY = 24 * 3600.0
KEPT_BACKUPS = 7
WARNED_DAYS = 14
MAX_NAMED = 20
_TIMEOUT = 600.0
_log = logging.getLogger("xcore.tasks")


class NotAllForgotten(XcoreError):
    """Some kinds of rows could not be let go of. The reason is the first one's."""

    def __init__(self, failed: Mapping[str, XcoreError], told: Sequence[str]) -> None:
        self.reason = next(iter(failed.values())).reason
        super().__init__("\n".join([*(f"{kind}: {error.detail}" for kind, error in failed.items()), *told]))


def retention(kinds: Mapping[str, tuple[float, Forget]], clock: Clock) -> Task:
    """`kinds`: of what, how many days it is kept, and who lets go of it. One that fails keeps back no other."""

    async def do(run: Run) -> str:
        told: list[str] = []
        failed: dict[str, XcoreError] = {}
        for kind, (days, forget) in kinds.items():
            if run.stopping.is_set():
                break
            try:
                count = await forget(clock.time() - days * DAY, run.stopping)
            except XcoreError as error:
                failed[kind] = error
            except Exception:  # noqa: BLE001  an error of ours over one kind: the others would grow meanwhile
                _log.exception("%s are not let go of", kind)
                failed[kind] = XcoreError(ERROR_OF_OURS)
            else:
                told.append(f"{kind} older than {days:g} days: {count}")
        if failed:
            raise NotAllForgotten(failed, told)
        return "\n".join(told)

    return Task(
        "retention",
        "Lets go of rows that are older than they are kept.",
        Cron("17 3 * * *"),
        _TIMEOUT,
        do,
        retries=3,
    )


def sweep(runtime_sweep: Callable[[], Awaitable[Sequence[str]]]) -> Task:
    """`runtime_sweep` removes instances that nobody wants; gives their names."""

    async def do(_: Run) -> str:
        gone = await runtime_sweep()
        if not gone:
            return "nothing was left that nobody wants"
        more = f" and {len(gone) - MAX_NAMED} more" if len(gone) > MAX_NAMED else ""
        return f"removed {', '.join(name[:12] for name in gone[:MAX_NAMED])}{more}"

    return Task(
        "sweep",
        "Removes sandboxes that no plugin wants, and reports them.",
        Cron("47 * * * *"),
        _TIMEOUT,
        do,
        retries=3,
    )


def backup(file: Path) -> Task:
    """Of SQLite's file, into a directory beside it."""

    async def do(_: Run) -> str:
        return await asyncio.to_thread(back_up_beside, file)

    return Task(
        "backup",
        f"Copies the database into backups/ beside it; the last {KEPT_BACKUPS} copies are kept.",
        Cron("47 2 * * *"),
        _TIMEOUT,
        do,
        retries=3,
    )


def back_up_beside(file: Path) -> str:
    """Make a copy, and let go of the oldest; raises DatabaseUnavailable, StorageFull, Conflict within the same second."""
    copy = file.parent / "backups" / time.strftime(f"{file.stem}-%Y%m%dT%H%M%SZ.db", time.gmtime())
    try:
        copy.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageFull(f"backups/ cannot be written: {error.strerror}") from error
    try:
        back_up(file, copy)
    except FileExistsError:
        raise Conflict(f"there is a copy {copy.name} already") from None
    for old in sorted(copy.parent.glob(f"{file.stem}-*Z.db"))[:-KEPT_BACKUPS]:
        old.unlink(missing_ok=True)
    return f"{copy.name}: {copy.stat().st_size} bytes"


def expiry(ending: Ending, clock: Clock) -> Task:
    """Says which keys will soon be good no more, in its output and in the log."""

    async def do(_: Run) -> str:
        keys = await ending(clock.time() + WARNED_DAYS * DAY, MAX_NAMED)
        told = [f"{key.name} ({key.prefix}…) until {rfc3339(key.expires or 0.0)}" for key in keys]
        for line in told:
            _log.warning("a key is good for less than %d days: %s", WARNED_DAYS, line)
        return "\n".join(told) or f"no key ends within {WARNED_DAYS} days"

    return Task(
        "expiry",
        f"Warns of keys that end within {WARNED_DAYS} days.",
        Cron("27 4 * * *"),
        _TIMEOUT,
        do,
        retries=3,
    )
