"""`/api/v1/plugins`: what there is, how it is, and the commands that change it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from integrations.admin.access import ManagerOf, require_key
from xcore.errors import XcoreError
from xcore.manager import Manager

router = APIRouter(prefix="/api/v1/plugins", tags=["plugins"], dependencies=[Depends(require_key)])

MAX_PAGE = 500
MAX_LINES = 10_000

Wait = Annotated[Literal["Ready"] | None, Query(description="Answer only when this holds.")]
Timeout = Annotated[float, Query(alias="timeoutSeconds", ge=0.1, le=600)]


class WaitTimeout(XcoreError):
    reason = "WaitTimeout"
    component = "plugin"


@router.get("")
def list_plugins(
    manager: ManagerOf,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    after: Annotated[str, Query(alias="continue", max_length=253)] = "",
) -> dict[str, Any]:
    """List plugins by name; `metadata.continue` of one page is the `continue` of the next."""
    names = [name for name in manager.names() if name > after]
    page = names[:limit]
    more = page[-1] if len(names) > limit else ""
    return {"items": [manager.get(name) for name in page], "metadata": {"continue": more}}


@router.get("/{name}")
def get_plugin(name: str, manager: ManagerOf) -> dict[str, Any]:
    """Give one Plugin resource."""
    return manager.get(name)


@router.get("/{name}/status")
def get_status(name: str, manager: ManagerOf) -> dict[str, Any]:
    """Give the status alone."""
    status: dict[str, Any] = manager.get(name)["status"]
    return status


@router.get("/{name}/logs", response_class=StreamingResponse)
async def get_logs(
    name: str,
    request: Request,
    manager: ManagerOf,
    lines: Annotated[int, Query(ge=1, le=MAX_LINES)] = 200,
    follow: bool = False,
) -> StreamingResponse:
    """Give what the plugin wrote, oldest first: text, or JSON lines by `Accept: application/json`."""
    manager.get(name)
    as_json = "application/json" in request.headers.get("accept", "")
    media = "application/x-ndjson" if as_json else "text/plain"
    return StreamingResponse(_lines(manager, name, lines, follow=follow, as_json=as_json), media_type=media)


async def _lines(
    manager: Manager, name: str, lines: int, *, follow: bool, as_json: bool
) -> AsyncIterator[str]:
    async for line in manager.logs(name, lines=lines, follow=follow):
        if as_json:
            yield json.dumps({"time": line.time, "text": line.text, "instance": line.instance}) + "\n"
        else:
            yield f"{line.time} {line.text}\n"


@router.post("/{name}/restart", status_code=202)
async def restart(name: str, manager: ManagerOf, wait: Wait = None, seconds: Timeout = 60) -> Response:
    """Replace the running instance by a new one, without a gap."""
    manager.restart(name)
    return await _answer(manager, name, wait, seconds)


@router.post("/{name}/suspend", status_code=202)
async def suspend(name: str, manager: ManagerOf) -> Response:
    """Stop it and keep it stopped, also over restarts of the controller."""
    manager.suspend(name)
    return await _answer(manager, name, None, 0)


@router.post("/{name}/resume", status_code=202)
async def resume(name: str, manager: ManagerOf, wait: Wait = None, seconds: Timeout = 60) -> Response:
    """Run it again, with a full restart budget."""
    manager.resume(name)
    return await _answer(manager, name, wait, seconds)


async def _answer(manager: Manager, name: str, wait: str | None, seconds: float) -> Response:
    """202 and the resource at once, or 200 when what was waited for holds."""
    if wait is None:
        return JSONResponse(manager.get(name), status_code=202)
    if not await manager.wait_ready(name, seconds):
        conditions = {c["type"]: c for c in manager.get(name)["status"]["conditions"]}
        ready = conditions["Ready"]
        raise WaitTimeout(
            f"{name} is not Ready after {seconds:g} s: {ready['reason']} {ready['message']}".strip()
        )
    return JSONResponse(manager.get(name))
