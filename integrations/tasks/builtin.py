"""What the controller does by itself, at its hours: letting go of what is old, and of what nobody wants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from integrations.tasks.task import Run, Task
from xcore.clock import Clock
from xcore.times import Cron

# Lets go of what is older than a time, epoch seconds; gives how many.
Forget = Callable[[float], Awaitable[int]]
DAY = 24 * 3600.0
MAX_NAMED = 20
_TIMEOUT = 600.0


def retention(kinds: Mapping[str, tuple[float, Forget]], clock: Clock) -> Task:
    """`kinds`: of what, how many days it is kept, and who lets go of it."""

    async def do(run: Run) -> str:
        told = []
        for kind, (days, forget) in kinds.items():
            if run.stopping.is_set():
                break
            count = await forget(clock.time() - days * DAY)
            told.append(f"{kind} older than {days:g} days: {count}")
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
