"""Talks to a controller. What it refuses, and where nobody answers, ends the command with the exit code for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote

import httpx

from controller.cli.exits import Exit, Stopped, code_for
from controller.settings import InvalidSettings, connection
from controller.values import is_loopback
from xcore.errors import Problem

PLUGINS = "/api/v1/plugins"
EVENTS = "/api/v1/events"
DOCTOR = "/api/v1/doctor"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
_PROBLEM = "application/problem+json"
_MOST_OF_AN_ERROR = 1024 * 1024


class Client:
    """One controller, as `XCORE_URL` and `XCORE_KEY` say. A context manager."""

    def __init__(self) -> None:
        try:
            reached = connection()
        except InvalidSettings as error:
            raise Stopped(Exit.USAGE, error.reason, error.detail, error.problems) from None
        self.url = reached.url
        headers = {"Authorization": f"Bearer {reached.key.get_secret_value()}"} if reached.key else {}
        # A proxy for the way out is never the way to this machine.
        trust = not is_loopback(httpx.URL(self.url).host)
        self._has_key = reached.key is not None
        self._http = httpx.Client(base_url=self.url, headers=headers, trust_env=trust)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **params: str | float) -> Any:
        """The JSON document at `path`."""
        return self._json("GET", path, params, ANSWER_SECONDS)

    def post(self, path: str, *, seconds: float = ANSWER_SECONDS, **params: str | float) -> Any:
        """Ask for something to be done; `seconds` is the longest wait for the answer."""
        return self._json("POST", path, params, seconds)

    def find(self, path: str) -> Any:
        """The JSON document at `path`, None where there is none."""
        try:
            return self.get(path)
        except Stopped as stopped:
            if stopped.reason == "PluginNotFound":
                return None
            raise

    def send(self, method: str, path: str, *, seconds: float, **request: Any) -> Any:
        """Ask for a change; `request` as httpx takes it, `seconds` the longest silence."""
        with self.opened(method, path, seconds=seconds, **request) as response:
            self.check(response)
            response.read()
        return self._parsed(response)

    def probe(self, path: str) -> tuple[int, str]:
        """Status and body, whatever the status is."""
        with self.opened("GET", path, seconds=CONNECT_SECONDS) as response:
            return response.status_code, _bounded(response).decode(errors="replace")

    @contextlib.contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str], **params: str | float
    ) -> Iterator[httpx.Response]:
        """An answer that may have no end; for as long as the block takes it."""
        with self.opened("GET", path, headers=dict(headers), params=params) as response:
            self.check(response)
            yield response

    @contextlib.contextmanager
    def opened(
        self, method: str, path: str, *, seconds: float | None = None, **request: Any
    ) -> Iterator[httpx.Response]:
        """An answer of any status, its body still to be read. `seconds`: longest silence, None for any."""
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        try:
            with self._http.stream(method, path, timeout=timeout, **request) as response:
                yield response
        except httpx.TimeoutException as error:
            raise self._unreachable("did not answer in time") from error
        except httpx.TransportError as error:
            raise self._unreachable("cannot be reached" if _never_began(error) else "hung up") from error

    def check(self, response: httpx.Response) -> None:
        """Return if all went well, else end the command as the problem in the body says."""
        if response.is_success:
            return
        stopped = problem_in(response, _bounded(response))
        if stopped is None:
            detail = f"what answers at {self.url} (status {response.status_code}) is not an xcore controller"
            raise Stopped(Exit.UNREACHABLE, "Unreachable", detail)
        if response.status_code == httpx.codes.UNAUTHORIZED and not self._has_key:
            stopped.detail += "; put the key into XCORE_KEY"
        raise stopped

    def _json(self, method: str, path: str, params: Mapping[str, str | float], seconds: float) -> Any:
        with self.opened(method, path, seconds=seconds, params=params) as response:
            self.check(response)
            response.read()
        return self._parsed(response)

    def _parsed(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise self._unreachable("answers something that is not JSON") from None

    def _unreachable(self, what: str) -> Stopped:
        return Stopped(Exit.UNREACHABLE, "Unreachable", f"the controller at {self.url} {what}")


def plugin_path(name: str, *rest: str) -> str:
    """The path of a plugin in the API, whatever its name looks like."""
    return "/".join([PLUGINS, quote(name, safe=""), *rest])


def problem_in(response: httpx.Response, body: bytes) -> Stopped | None:
    """The RFC 9457 problem an answer holds; None when it holds none of ours."""
    if not response.headers.get("content-type", "").startswith(_PROBLEM):
        return None
    try:
        told = httpx.Response(200, content=body).json()
        reason, detail = told["reason"], told.get("detail") or told.get("title", "")
        errors = [Problem(str(error["field"]), str(error["message"])) for error in told.get("errors", ())]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    stopped = Stopped(code_for(response.status_code, str(reason)), str(reason), str(detail), errors)
    stopped.request_id = str(told.get("requestId") or response.headers.get("x-request-id", ""))
    return stopped


def _bounded(response: httpx.Response) -> bytes:
    body = b""
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > _MOST_OF_AN_ERROR:
            break
    return body


def _never_began(error: httpx.TransportError) -> bool:
    return isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol | httpx.ProxyError)
