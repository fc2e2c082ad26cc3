"""Every error of the control plane as a problem (RFC 9457), with its reason in `Xcore-Reason` and a request id."""

from __future__ import annotations

import logging
import secrets

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.api.problems import problem_body, problem_of
from controller.dataplane.headers import request_id_of
from xcore.errors import Problem, XcoreError

_BY_STATUS = {404: "NotFound", 405: "MethodNotAllowed"}
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_NO_SNIFF = {"x-content-type-options": "nosniff"}
_log = logging.getLogger("xcore.controller")


def install(app: FastAPI) -> None:
    """Teach the application to answer errors our way."""
    app.add_exception_handler(XcoreError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unknown)
    app.add_middleware(_OurHeaders)


class _OurHeaders:
    """Around all answers. Not a function for Starlette's own middleware: that one ends an answer a moment after its last byte,
    when a client that is quick has already sent its next request, which then looks pipelined.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = request_id_of(scope["headers"])
        request_id = given.decode() if given else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update({"x-request-id": request_id, **_NO_SNIFF})
                age = scope["app"].state.database.age
                if age is not None and scope["path"].startswith("/api/"):
                    headers["age"] = str(int(age))  # RFC 9111: rows are told from memory
            await send(message)

        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            # Nothing is called so, and a database that knows none would take it for a fault.
            refused = _reason(Request(scope), "MalformedRequest", "the request target holds a NUL")
            await refused(scope, receive, with_headers)
        else:
            await self._app(scope, receive, with_headers)


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, XcoreError)
    status, body = problem_of(error, request_id=request.state.request_id)
    return _problem(status, body, error.reason, retry_after=error.retry_after)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [Problem(".".join(map(str, e["loc"][1:])), e["msg"]) for e in error.errors()]
    return _reason(request, "InvalidArguments", "the request's parameters are not valid", problems)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = _BY_STATUS.get(error.status_code, "MalformedRequest")
    answer = _reason(request, reason, f"{request.method} {request.url.path} is not served here")
    if error.status_code == 405:
        answer.headers["allow"] = ", ".join(_allowed(request))
    return answer


def _allowed(request: Request) -> list[str]:
    """The methods of all routes with this path: each of them knows of its own alone."""

    def served(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in _METHODS if served(method)]


async def _unknown(request: Request, error: Exception) -> Response:
    _log.error("an error of ours", exc_info=error)
    return _reason(request, "Internal", "an error of the controller; it is in its log under this request id")


def _reason(request: Request, reason: str, detail: str, problems: list[Problem] | None = None) -> Response:
    request_id = getattr(request.state, "request_id", "")
    status, body = problem_body(reason, detail, request_id=request_id, errors=problems or ())
    return _problem(status, body, reason)


def _problem(status: int, body: bytes, reason: str, *, retry_after: int = 1) -> Response:
    headers = {
        "xcore-reason": reason,
        **_NO_SNIFF,
    }  # here, too: the last resort is asked outside of the middleware
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if status in {429, 503}:
        headers["retry-after"] = str(retry_after)
    return Response(body, status, headers, media_type="application/problem+json")
