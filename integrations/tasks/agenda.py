"""All there is to do by itself: what is built in, and what plugins have put on their schedules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from integrations.tasks.calling import Caller
from integrations.tasks.rows import TaskRows
from integrations.tasks.scheduler import Scheduler
from integrations.tasks.schedules import scheduled
from integrations.tasks.task import Task
from xcore.clock import WallClock
from xcore.manager import Manager

Leads = Callable[[], bool]


class Agenda:
    """What routes and metrics ask about tasks, and who runs them."""

    def __init__(
        self, manager: Manager, call: Caller, rows: TaskRows, built_in: Sequence[Task], *, leads: Leads
    ) -> None:
        self._manager, self._call = manager, call
        self._built_in = {task.id: task for task in built_in}
        self.rows = rows
        self.scheduler = Scheduler(rows, self.tasks, clock=WallClock(), leads=leads)
        manager.routes.listen(self._changed)

    def _changed(self, plugin: str) -> None:
        route = self._manager.routes.get(plugin)
        if route is None or route.manifest.spec.schedules:
            self.scheduler.poke()

    def tasks(self) -> Mapping[str, Task] | None:
        """By id; None until it is known which plugins there are."""
        if not self._manager.synced:
            return None
        plugins = scheduled(self._manager.routes, self._call)
        return {**self._built_in, **{task.id: task for task in plugins}}
