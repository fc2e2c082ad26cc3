"""A plugin as an ASGI application: `<root_path>/<action>`. The same object is served in-process and in a sandbox."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from functools import partial
from typing import Any, TypeVar

import msgspec

from xcore.plugin.asgi import ClientGone, Receive, Scope, Send, header, problem, read_body, respond
from xcore.plugin.contract import Plugin, Response
from xcore.plugin.signature import Action, BadArguments, BadResult, compile_actions
from xcore.plugin.threads import ActionThreads

DEADLINE_HEADER = b"xcore-deadline-seconds"
DEFAULT_DEADLINE = 30.0
T = TypeVar("T")
_log = logging.getLogger("xcore.plugin")


class PluginFailed(Exception):
    """The plugin's code raised; its exception is the cause."""


async def contained(pending: Awaitable[T]) -> T:
    """Await the plugin's code. Whatever it raises is its own failure, never the host's: the one place that says so."""
    try:
        return await pending
    except Exception as error:
        raise PluginFailed from error


class ActionApp:
    """Serves a plugin's actions. An exception of the plugin is that request's answer, and only that."""

    def __init__(self, plugin: Plugin, threads: ActionThreads) -> None:
        self.plugin = plugin
        self.threads = threads
        self.actions = compile_actions(plugin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"][len(scope.get("root_path", "")) :].removeprefix("/")
        try:
            response = await self._answer(name, scope, receive)
        except ClientGone:
            return
        await respond(send, response)

    async def _answer(self, name: str, scope: Scope, receive: Receive) -> Response:
        method = scope["method"]
        request_id = header(scope, b"x-request-id").decode("latin-1")
        if not name and method in {"GET", "HEAD"}:
            return Response(msgspec.json.encode(self.describe()), "application/json")
        action = self.actions.get(name)
        if action is None:
            return problem(404, "ActionNotFound", f"there is no action {name!r}", requestId=request_id)
        allowed = ("GET", "HEAD", "POST") if action.safe else ("POST",)
        if method not in allowed:
            answer = problem(
                405, "MethodNotAllowed", f"{name} answers {', '.join(allowed)}", requestId=request_id
            )
            return _with_allow(answer, allowed)
        body = await read_body(receive)
        try:
            arguments = action.arguments(body, scope["query_string"], from_query=method != "POST")
        except BadArguments as bad:
            reason = "InvalidArguments" if bad.status == 422 else "MalformedRequest"
            return problem(bad.status, reason, bad.detail, errors=bad.errors, requestId=request_id)
        return await self._call(action, arguments, deadline=_deadline(scope), request_id=request_id)

    async def _call(
        self, action: Action, arguments: dict[str, Any], *, deadline: float, request_id: str
    ) -> Response:
        call = partial(action.method, **arguments)
        try:
            pending = call() if action.is_async else self.threads.run(call, deadline)
            result = await contained(pending)
            return action.encode(result)
        except PluginFailed as failed:
            cause = failed.__cause__
            _log.error("action %s failed", action.name, exc_info=cause, extra={"requestId": request_id})
            detail = f"the action {action.name} raised an exception; its traceback is in the plugin's logs"
        except BadResult as bad:
            _log.error("action %s %s", action.name, bad, extra={"requestId": request_id})
            detail = f"the action {action.name} {bad}"
        return problem(500, "ActionFailed", detail, requestId=request_id)

    def describe(self) -> dict[str, Any]:
        context = self.plugin.context
        return {
            "name": context.name,
            "version": context.version,
            "actions": [action.describe() for action in self.actions.values()],
        }


def _with_allow(answer: Response, allowed: tuple[str, ...]) -> Response:
    return Response(answer.content, answer.media_type, answer.status, {"allow": ", ".join(allowed)})


def _deadline(scope: Scope) -> float:
    try:
        return float(header(scope, DEADLINE_HEADER))
    except ValueError:
        return DEFAULT_DEADLINE
