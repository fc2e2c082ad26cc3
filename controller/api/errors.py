"""Every error of the control plane as a problem (RFC 9457), with its reason in `Xcore-Reason` and a request id."""

from __future__ import annotations

import logging
import secrets

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from controller.api.problems import problem_body, problem_of
from controller.dataplane.headers import request_id_of
from xcore.errors import Problem, XcoreError

_BY_STATUS = {404: "NotFound", 405: "MethodNotAllowed"}
_NO_SNIFF = {"x-content-type-options": "nosniff"}
_log = logging.getLogger("xcore.controller")


def install(app: FastAPI) -> None:
    """Teach the application to answer errors our way."""
    app.add_exception_handler(XcoreError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unknown)
    app.middleware("http")(_with_our_headers)


async def _with_our_headers(request: Request, call_next):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    given = request_id_of(request.headers.raw)
    request.state.request_id = given.decode() if given else secrets.token_hex(8)
    response = await call_next(request)
    response.headers["x-request-id"] = request.state.request_id
    response.headers.update(_NO_SNIFF)
    age = request.app.state.database.age
    if age is not None and request.url.path.startswith("/api/"):
        response.headers["age"] = str(int(age))  # RFC 9111: rows are told from memory
    return response


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
    return _reason(request, reason, f"{request.method} {request.url.path} is not served here")


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
