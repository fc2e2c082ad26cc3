"""A plugin as an ASGI application: `<root_path>/<action>`. The same object is served in-process and in a sandbox."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import msgspec

from xcore.plugin import openapi
from xcore.plugin.arguments import BadArguments
from xcore.plugin.asgi import (
    Answer,
    ClientGone,
    Receive,
    Scope,
    Send,
    header,
    json_answer,
    problem,
    read_body,
    refuse,
    respond,
)
from xcore.plugin.contained import Contained, PluginFailed
from xcore.plugin.contract import Plugin
from xcore.plugin.results import BadResult
from xcore.plugin.signature import Action, compile_actions
from xcore.plugin.stream import Opened, Streaming, accepted, open_items
from xcore.plugin.threads import ActionThreads

OPENAPI = "openapi.json"  # no action can be called so
DEADLINE_HEADER = b"xcore-deadline-seconds"
DEFAULT_DEADLINE = 30.0
MAX_DEADLINE = 86_400.0
_log = logging.getLogger("xcore.plugin")


class ActionApp:
    """Serves a plugin's actions. An exception of the plugin is that request's answer, and only that."""

    def __init__(self, plugin: Plugin, threads: ActionThreads) -> None:
        self.plugin = plugin
        self.threads = threads
        self.actions = compile_actions(plugin)
        self._document: bytes | None = None
        described = [action.description for action in self.actions.values()]
        context = plugin.context
        self.description = msgspec.json.encode(
            {"name": context.name, "version": context.version, "kind": "actions", "actions": described}
        )

    def document(self) -> bytes:
        """The OpenAPI document."""
        if self._document is None:
            self._document = msgspec.json.encode(openapi.document(self.plugin.context, self.actions.values()))
        return self._document

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"][len(scope.get("root_path", "")) :].removeprefix("/")
        if scope["type"] == "websocket":
            await refuse(send, _no_websocket(scope))
            return
        try:
            answer = await self._answer(name, scope, receive)
        except ClientGone:
            return
        if isinstance(answer, Opened):
            await answer.send(send, partial(_failed, name, scope))
        else:
            await respond(send, answer)

    async def _answer(self, name: str, scope: Scope, receive: Receive) -> Answer | Opened:
        action = self.actions.get(name)
        refusal = _refusal(name, action, scope)
        if refusal is not None:
            return refusal
        if action is None:
            return json_answer(self.document() if name else self.description)
        body = await read_body(receive)
        try:
            return await self._call(action, body, scope)
        except BadArguments as bad:
            reason = "InvalidArguments" if bad.status == 422 else "MalformedRequest"
            return problem(bad.status, reason, bad.detail, errors=bad.errors, requestId=_request_id(scope))
        except (PluginFailed, BadResult) as error:
            return _failed(name, scope, error)

    async def _call(self, action: Action, body: bytes, scope: Scope) -> Answer | Opened:
        # All of it is walled in: types of the plugin's own run its code while they are read and written.
        with Contained(BadArguments, BadResult):
            arguments = action.arguments.read(
                body, scope["query_string"], from_query=scope["method"] != "POST"
            )
            if action.streaming is not None:
                return await self._open(action, action.streaming, arguments, scope)
            if action.is_async:
                result = await action.method(**arguments)
            else:
                result = await self.threads.run(partial(action.method, **arguments), _deadline(scope))
            return action.results.answer(result)

    async def _open(
        self, action: Action, streaming: Streaming, arguments: dict[str, Any], scope: Scope
    ) -> Opened:
        items = open_items(action.method, arguments, self.threads, _deadline(scope))
        opened = Opened(streaming, streaming.framing(accepted(scope)), items)
        if scope["method"] != "HEAD":
            await opened.begin()
        return opened


def _failed(name: str, scope: Scope, error: Exception) -> Answer:
    """Log a failure of the plugin, and give what its client may know of it."""
    request_id = _request_id(scope)
    if isinstance(error, BadResult):
        _log.error("action %s %s", name, error, extra={"requestId": request_id})
        detail = f"the action {name} {error}"
    else:
        _log.error("action %s failed", name, exc_info=error.__cause__, extra={"requestId": request_id})
        detail = f"the action {name} raised an exception; its traceback is in the plugin's logs"
    return problem(500, "ActionFailed", detail, requestId=request_id)


def _refusal(name: str, action: Action | None, scope: Scope) -> Answer | None:
    """What is not called at all: an action there is not, another method, a WebSocket."""
    allowed = action.methods if action else ("GET", "HEAD")
    if name not in {"", OPENAPI} and action is None:
        return problem(404, "ActionNotFound", f"there is no action {name!r}", requestId=_request_id(scope))
    if scope["method"] not in allowed:
        methods = ", ".join(allowed)
        detail = f"{name or 'the plugin itself'} answers {methods}"
        answer = problem(405, "MethodNotAllowed", detail, requestId=_request_id(scope))
        answer.headers.append((b"allow", methods.encode()))
        return answer
    if scope["method"] == "GET" and header(scope, b"upgrade").lower() == b"websocket":
        return _no_websocket(scope)
    return None


def _no_websocket(scope: Scope) -> Answer:
    detail = "an action is no WebSocket: call it with POST"
    return problem(400, "MalformedRequest", detail, requestId=_request_id(scope))


def _request_id(scope: Scope) -> str:
    return header(scope, b"x-request-id").decode("latin-1")


def _deadline(scope: Scope) -> float:
    try:
        seconds = float(header(scope, DEADLINE_HEADER))
    except ValueError:
        return DEFAULT_DEADLINE
    return seconds if 0 < seconds <= MAX_DEADLINE else DEFAULT_DEADLINE
