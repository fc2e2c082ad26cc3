"""The API server, untyped: paths and JSON. The one module that knows Kubernetes' client library (59 MB of memory).

Paths are those of the Kubernetes API, such as /api/v1/namespaces/plugins/pods. Every call has a deadline, and all of them
together a pace (client-side rate limit), so that no number of plugins makes a storm. Raises RuntimeUnavailable when the
server does not answer, is overloaded or does not know us: unknown is never gone; `Refusal` with the server's own words
for what it will not do. Server-side apply (kubernetes.io, "Server-Side Apply") with one field manager. A field the server
does not know is refused in every write, never dropped ("Field validation").
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast
from urllib.parse import urlencode, urlsplit

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from xcore.clock import Clock, SystemClock, sleep
from xcore.errors import RuntimeUnavailable, WorkloadRejected

MANAGER = "xcore"
CALL_SECONDS = 10.0
CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 0.25
# As controller-runtime has it.
CALLS_PER_SECOND, BURST = 20.0, 30
MAX_LINE = 16 * 2**20  # of a watch: an object has at most about 3 MiB
_PAGE = 500
_JSON = "application/json"
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
# Names and versions without contents (kubernetes.io, "Resource representations").
_SLIM = f"{_JSON};as=PartialObjectMetadata{{}};g=meta.k8s.io;v=v1,{_JSON}"

# How the server begins a 500 that is no failure of its own: what is applied has a field it does not know.
_UNKNOWN_FIELD = "failed to create typed patch object"

Object = dict[str, Any]
Query = Mapping[str, str | int]
_OURS: Query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}


class _Request(NamedTuple):
    method: str
    path: str
    query: Query | None = None
    body: Object | None = None
    kind: str = _JSON
    accept: str = _JSON


class Refusal(WorkloadRejected):
    """The API server said no, with this HTTP status and these words."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Expired(Exception):
    """The version that was asked for is too old (410): list anew."""


class Pace:
    """A token bucket: `per_second` on average, `burst` at once. `calls` counts."""

    def __init__(self, clock: Clock, *, per_second: float = CALLS_PER_SECOND, burst: float = BURST) -> None:
        self._clock, self._rate, self._burst = clock, per_second, burst
        self._tokens, self._at = burst, clock.time()
        self.calls = 0

    async def take(self) -> None:
        self.calls += 1
        now = self._clock.time()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
        self._at = now
        if self._tokens < 0:
            await sleep(self._clock, -self._tokens / self._rate)


@dataclass(slots=True, eq=False)
class Cluster:
    """One API server, as one identity. `may_write` is asked right before every write."""

    api: ApiClient
    pace: Pace
    may_write: Callable[[], bool] = lambda: True

    @property
    def address(self) -> tuple[str, int]:
        """Where the API server listens."""
        parts = urlsplit(self.api.configuration.host)
        return parts.hostname or "", parts.port or 443

    def fenced(self, may_write: Callable[[], bool]) -> Cluster:
        """Give the same, for somebody who may write only while that holds; then RuntimeUnavailable is raised."""
        return replace(self, may_write=may_write)

    def apart(self, clock: Clock) -> Cluster:
        """Give the same with a pace of its own: it waits for nobody else's calls."""
        return replace(self, pace=Pace(clock))

    async def get(self, path: str, query: Query | None = None) -> Object | None:
        """Give one object, None where there is none."""
        try:
            return await self._ask(_Request("GET", path, query))
        except Refusal as refusal:
            if refusal.status == 404:
                return None
            raise

    async def list(
        self, path: str, query: Query | None = None, *, slim: bool = False
    ) -> tuple[list[Object], str]:
        """Give all objects and the version the list is of, page by page; `slim`: their metadata alone."""
        accept = _SLIM.format("List") if slim else _JSON
        items: list[Object] = []
        asked: dict[str, str | int] = {**(query or {}), "limit": _PAGE}
        while True:
            page = await self._ask(_Request("GET", path, asked, accept=accept))
            items += page.get("items", ())
            meta = page["metadata"]
            if not meta.get("continue"):
                return items, meta["resourceVersion"]
            asked["continue"] = meta["continue"]

    async def apply(self, path: str, wanted: Object) -> Object:
        """Make the fields named in `wanted` so, whoever else set them; creates what is not there."""
        return await self._ask(_Request("PATCH", path, {**_OURS, "force": "true"}, wanted, _APPLY))

    async def merge(self, path: str, patch: Object) -> Object | None:
        """Change an object by a JSON merge patch (RFC 7396); None where there is none."""
        try:
            return await self._ask(_Request("PATCH", path, _OURS, patch, _MERGE))
        except Refusal as refusal:
            if refusal.status == 404:
                return None
            raise

    async def create(self, path: str, wanted: Object) -> Object:
        return await self._ask(_Request("POST", path, _OURS, wanted))

    async def replace(self, path: str, wanted: Object) -> Object:
        """Put an object in the place of the version it names; Refusal 409 when it is another by now."""
        return await self._ask(_Request("PUT", path, _OURS, wanted))

    async def delete(self, path: str, *, uid: str | None = None) -> None:
        """Let an object go, with what it owns, in the background; nothing happens where there is none."""
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._ask(_Request("DELETE", path, body=body))
        except Refusal as refusal:
            if refusal.status not in {404, 409}:  # 409: another object of that name by now
                raise

    async def watch(
        self, path: str, query: Query, *, silence: float, begun: Callable[[], None], slim: bool = False
    ) -> AsyncIterator[Object]:
        """Yield events until the server ends the watch; raises Expired, and RuntimeUnavailable after `silence` seconds.

        `begun` is called when the server has agreed, which it says at once.
        """
        asked = {**query, "watch": "true"}
        request = _Request("GET", path, asked, accept=_SLIM.format("") if slim else _JSON)
        async for line in self._lines(request, silence, begun):
            event = json.loads(line)
            if event["type"] == "ERROR":
                status = event["object"]
                if status.get("code") == 410:
                    raise Expired
                raise RuntimeUnavailable(f"a watch was broken off: {status.get('message', '')}")
            yield event

    def stream(self, path: str, query: Query) -> AsyncIterator[bytes]:
        """Yield the lines of an answer as they come."""
        return self._lines(_Request("GET", path, query), None, lambda: None)

    async def _lines(
        self, request: _Request, silence: float | None, begun: Callable[[], None]
    ) -> AsyncIterator[bytes]:
        deadline = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence)
        try:
            # A connection that was kept may be dead: that is not waited for as long as for news.
            async with asyncio.timeout(None if silence is None else CALL_SECONDS):
                sent = await self._send(request, deadline)
            async with sent as answer:
                await _judge(answer)
                begun()
                buffered = b""
                async for chunk in answer.content.iter_any():
                    *lines, buffered = (buffered + chunk).split(b"\n")
                    if len(buffered) > MAX_LINE:
                        raise RuntimeUnavailable(f"a line of over {MAX_LINE} bytes")
                    for line in lines:
                        yield line
                if buffered:
                    yield buffered
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable(error) from error

    async def aclose(self) -> None:
        await self.api.close()
        # Connections under TLS close a little later (docs.aiohttp.org, "Graceful Shutdown").
        await asyncio.sleep(CLOSE_SECONDS)

    async def _ask(self, request: _Request) -> Object:
        await self.pace.take()
        try:
            async with await self._send(request, aiohttp.ClientTimeout(CALL_SECONDS)) as answer:
                await _judge(answer)
                return cast("Object", json.loads(await answer.read()))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable(error) from error

    async def _send(self, request: _Request, deadline: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        headers = {"Accept": request.accept, "Content-Type": request.kind}
        await self.api.update_params_for_auth(headers, [], ["BearerToken"], request.path, "", None)
        url = f"{self.api.configuration.host}{request.path}"
        if request.query:
            url += f"?{urlencode(request.query)}"
        if request.method != "GET" and not self.may_write():
            raise RuntimeUnavailable("this replica leads no more: another one writes")
        answer = await self.api.rest_client.request(
            request.method, url, headers=headers, body=request.body, _request_timeout=deadline
        )
        return cast("aiohttp.ClientResponse", answer.response)


async def connect(kubeconfig: str | None, *, clock: Clock | None = None) -> Cluster:
    """Reach the cluster a file names, else the one this pod runs in; raises RuntimeUnavailable."""
    settings = Configuration()
    # Python 3.13 asks more of certificates than many clusters' own authorities have (VERIFY_X509_STRICT); the chain and
    # the name are checked all the same.
    settings.disable_strict_ssl_verification = True
    try:
        if kubeconfig is not None:
            await config.load_kube_config(config_file=kubeconfig, client_configuration=settings)
        else:
            config.load_incluster_config(client_configuration=settings)
    except config.ConfigException as error:
        where = "the file KUBECONFIG names" if kubeconfig else "a pod's service account"
        raise RuntimeUnavailable(f"no cluster is known by {where}: {error}") from error
    settings.retries = None  # whoever asks decides
    settings.client_session_kwargs = {"trust_env": False}  # else ~/.netrc is looked for with every request
    return Cluster(ApiClient(settings), Pace(clock or SystemClock()))


async def _judge(answer: aiohttp.ClientResponse) -> None:
    """Raise what an answer means that is not a success."""
    if answer.status < 300:
        return
    try:
        said = str(json.loads(await answer.read()).get("message", ""))
    except (ValueError, AttributeError):
        said = ""
    detail = said or f"the API server answers {answer.status}"
    if answer.status == 410:
        raise Expired
    if answer.status in {401, 408, 429} or (answer.status >= 500 and not said.startswith(_UNKNOWN_FIELD)):
        raise RuntimeUnavailable(f"the API server cannot answer now: {detail}")
    raise Refusal(answer.status, detail)


def _unavailable(error: Exception) -> RuntimeUnavailable:
    if isinstance(error, TimeoutError):
        return RuntimeUnavailable("the API server does not answer in time")
    return RuntimeUnavailable(f"the API server cannot be reached ({type(error).__name__})")


__all__ = ["MANAGER", "Cluster", "Expired", "Object", "Pace", "Query", "Refusal", "connect"]
