"""`/api/v1/plugins`: what there is, how it is, and the commands that change it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from integrations.admin.access import GrantOf, ManagerOf, demands, lasting
from integrations.admin.answers import DeskOf, Patience, PatienceOf
from integrations.admin.audited import Audited
from integrations.admin.named import PluginName
from integrations.admin.schemas import LATE, LOGS, PLUGIN, PLUGINS, STATUS
from integrations.grants import Scope
from xcore.manager import Manager

router = APIRouter(prefix="/api/v1/plugins", tags=["plugins"], route_class=Audited)
READS, OPERATES = [demands(Scope.PLUGINS_READ)], [demands(Scope.PLUGINS_OPERATE)]

MAX_PAGE = 500
MAX_LINES = 10_000


@router.get("", dependencies=READS, response_model=None, responses={200: PLUGINS})
def list_plugins(
    desk: DeskOf,
    grant: GrantOf,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    after: Annotated[str, Query(alias="continue", max_length=253)] = "",
) -> dict[str, Any]:
    """List the plugins that the key is for by name; `metadata.continue` of one page is the `continue` of the next."""
    names = [name for name in desk.manager.names() if name > after and grant.reaches(name)]
    page = names[:limit]
    more = page[-1] if len(names) > limit else ""
    return {"items": [desk.resource(name) for name in page], "metadata": {"continue": more}}


@router.get("/{name}", dependencies=READS, responses={200: PLUGIN})
def get_plugin(name: PluginName, desk: DeskOf) -> Response:
    """Give one Plugin resource; its `ETag` is the version that `If-Match` compares."""
    return desk.response(name)


@router.get("/{name}/status", dependencies=READS, response_model=None, responses={200: STATUS})
def get_status(name: PluginName, manager: ManagerOf) -> dict[str, Any]:
    """Give the status alone."""
    status: dict[str, Any] = manager.get(name)["status"]
    return status


@router.get(
    "/{name}/logs",
    dependencies=[demands(Scope.LOGS_READ)],
    response_class=StreamingResponse,
    responses={200: LOGS},
)
async def get_logs(
    name: PluginName,
    request: Request,
    manager: ManagerOf,
    lines: Annotated[int, Query(ge=1, le=MAX_LINES)] = 200,
    follow: bool = False,
) -> StreamingResponse:
    """Give what the plugin wrote, oldest first: text, or JSON lines by `Accept: application/json`."""
    manager.get(name)
    as_json = "application/json" in request.headers.get("accept", "")
    media = "application/x-ndjson" if as_json else "text/plain"
    told = _lines(manager, name, lines, follow=follow, as_json=as_json)
    return StreamingResponse(lasting(request, told), media_type=media)


async def _lines(
    manager: Manager, name: str, lines: int, *, follow: bool, as_json: bool
) -> AsyncGenerator[str, None]:
    async for line in manager.logs(name, lines=lines, follow=follow):
        if as_json:
            yield json.dumps({"time": line.time, "text": line.text, "instance": line.instance}) + "\n"
        else:
            yield f"{line.time} {line.text}\n"


@router.post(
    "/{name}/restart", dependencies=OPERATES, status_code=202, responses={200: PLUGIN, 202: PLUGIN, 504: LATE}
)
async def restart(name: PluginName, desk: DeskOf, patience: PatienceOf) -> Response:
    """Replace the running instance by a new one, without a gap."""

    async def order() -> None:
        desk.intake.restart(name, desk.terms)

    return await desk.command(name, order, patience)


@router.post("/{name}/suspend", dependencies=OPERATES, status_code=202, responses={202: PLUGIN})
async def suspend(name: PluginName, desk: DeskOf) -> Response:
    """Stop it and keep it stopped, also over restarts of the controller."""
    return await desk.command(name, lambda: desk.intake.suspend(name, desk.terms), Patience(None))


@router.post(
    "/{name}/resume", dependencies=OPERATES, status_code=202, responses={200: PLUGIN, 202: PLUGIN, 504: LATE}
)
async def resume(name: PluginName, desk: DeskOf, patience: PatienceOf) -> Response:
    """Run it again, with a full restart budget."""
    return await desk.command(name, lambda: desk.intake.resume(name, desk.terms), patience)
