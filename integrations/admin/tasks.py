"""`/api/v1/tasks`: what is done by the clock, how it went, and doing it now."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from integrations.admin.access import GrantOf, demands
from integrations.admin.answers import DeskOf
from integrations.admin.audited import Audited
from integrations.admin.named import TaskId
from integrations.admin.schemas import RUNS, TASK, TASKS
from integrations.database.tables_tasks import RunRow, TaskRow
from integrations.grants import Grant, Scope
from integrations.once import Done, claim
from integrations.tasks.agenda import Agenda
from integrations.tasks.task import State, Task, TaskNotFound
from xcore.clock import rfc3339
from xcore.errors import Forbidden

router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"], route_class=Audited)
READS = [demands(Scope.TASKS_READ)]

MAX_PAGE = 100


def _agenda(request: Request) -> Agenda:
    agenda: Agenda = request.app.state.agenda
    return agenda


AgendaOf = Annotated[Agenda, Depends(_agenda)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


@router.get("", dependencies=READS, response_model=None, responses={200: TASKS})
async def list_tasks(
    agenda: AgendaOf,
    grant: GrantOf,
    limit: Limit = MAX_PAGE,
    after: Annotated[str, Query(alias="continue", max_length=160)] = "",
    plugin: Annotated[str | None, Query(max_length=63, description="Of this plugin alone.")] = None,
) -> dict[str, Any]:
    """List the tasks of those plugins that the key is for, by name; `metadata.continue` of one page is the `continue` of the next."""
    tasks = {
        name: task
        for name, task in sorted(agenda.tasks().items())
        if name > after and plugin in {None, task.plugin} and grant.reaches(task.plugin)
    }
    page = list(tasks)[:limit]
    rows = await agenda.rows.rows(page)
    more = page[-1] if len(tasks) > limit else ""
    items = [_task(tasks[name], *rows.get(name, (None, None))) for name in page]
    return {"items": items, "metadata": {"continue": more}}


@router.get("/{task_id}", dependencies=READS, response_model=None, responses={200: TASK})
async def get_task(task_id: TaskId, agenda: AgendaOf, grant: GrantOf) -> dict[str, Any]:
    """Give one task, and its latest run."""
    return await _one(agenda, _find(agenda, grant, task_id))


@router.get("/{task_id}/runs", dependencies=READS, response_model=None, responses={200: RUNS})
async def list_runs(
    task_id: TaskId,
    agenda: AgendaOf,
    grant: GrantOf,
    limit: Limit = 20,
    before: Annotated[int | None, Query(alias="continue", ge=1, le=2**31 - 1)] = None,
) -> dict[str, Any]:
    """List the kept runs of a task, the newest first."""
    _find(agenda, grant, task_id)
    rows = await agenda.rows.runs(task_id, before=before, limit=limit + 1)
    page = rows[:limit]
    more = str(page[-1].number) if len(rows) > limit else ""
    return {"items": [_run(row) for row in page], "metadata": {"continue": more}}


@router.post(
    "/{task_id}/run", status_code=202, dependencies=[demands(Scope.TASKS_RUN)], responses={202: TASK}
)
async def run_task(task_id: TaskId, agenda: AgendaOf, grant: GrantOf, desk: DeskOf) -> Response:
    """Have it run now, once for each Idempotency-Key; its regular times stay."""
    task = _find(agenda, grant, task_id)
    if task.plugin and (why := grant.why_not(task.plugin, task.action)) is not None:
        raise Forbidden(why)

    async def order() -> Done:
        await agenda.rows.ask(task_id, desk.request.state.caller)
        agenda.scheduler.poke()
        return Done("", 202)

    async def answer(done: Done) -> Response:
        location = {"location": f"/api/v1/tasks/{task_id}/runs"}
        return JSONResponse(await _one(agenda, task), done.status, location)

    return await desk.once.perform(claim(desk.request), order, answer)


def _find(agenda: Agenda, grant: Grant, task_id: str) -> Task:
    task = agenda.tasks().get(task_id)
    if task is None or not grant.reaches(task.plugin):
        raise TaskNotFound(f"there is no task {task_id[:160]!r} that this key is for")
    return task


async def _one(agenda: Agenda, task: Task) -> dict[str, Any]:
    rows = await agenda.rows.rows([task.id])
    return _task(task, *rows.get(task.id, (None, None)))


def _task(task: Task, row: TaskRow | None, run: RunRow | None) -> dict[str, Any]:
    running = run is not None and run.state == State.RUNNING
    return {
        "id": task.id,
        "title": task.title,
        "plugin": task.plugin,
        "action": task.action,
        "times": str(task.times),
        "timeoutSeconds": task.timeout,
        "retries": task.retries,
        "state": "Running" if running else "Suspended" if task.paused else "Waiting",
        "nextTime": rfc3339(row.ready) if row is not None and not running else None,
        "lastRun": _run(run) if run is not None else None,
    }


def _run(run: RunRow) -> dict[str, Any]:
    return {
        "run": run.number,
        "task": run.task,
        "state": run.state,
        "due": rfc3339(run.due),
        "started": rfc3339(run.started),
        "ended": rfc3339(run.ended) if run.ended is not None else None,
        "seconds": round(run.ended - run.started, 3) if run.ended is not None else None,
        "attempt": run.attempt,
        "by": run.by or "clock",
        "output": run.output,
        "reason": run.reason,
        "detail": run.detail,
    }
