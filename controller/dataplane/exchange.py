"""One request through the data plane: admitted, perhaps queued or held, sent, and its answer streamed back.

Runs as callbacks on the event loop, without a task of its own. Both directions have back-pressure. Once the first
byte of an answer has left, nothing can be told to the client but by closing its connection.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left

from typing import TYPE_CHECKING, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from controller.api.problems import problem_body
from controller.dataplane import headers as rules
from controller.dataplane.plane import BUCKETS, DataPlane, Policy
from xcore.errors import UpstreamError, UpstreamIdentity

if TYPE_CHECKING:
    from controller.dataplane.protocol import DataPlaneProtocol
    from xcore.routes import Route, Target

HOLD_SECONDS = 5.0
REDIAL_SECONDS = 0.1
BUFFER = 64 * 1024
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_NEVER = float("inf")


class Upstream(Protocol):
    """What carries a request to a plugin: a connection to a sandbox, or a call in this process."""

    def write(self, data: bytes) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def cancel(self) -> None: ...


class Exchange:
    """`begin` first, then the client's body by `feed` and `feed_end`; the client's protocol hears `exchange_done`."""

    __slots__ = (
        "_admitted",
        "_body",
        "_body_bytes",
        "_body_complete",
        "_chunked_in",
        "_chunked_out",
        "_client",
        "_deadline",
        "_head_sent",
        "_headers",
        "_hold_until",
        "_http10",
        "_keep_alive",
        "_last",
        "_length",
        "_out",
        "_plane",
        "_policy",
        "_raw_target",
        "_redial_at",
        "_route",
        "_started",
        "_status",
        "_target",
        "_upstream",
        "action",
        "done",
        "method",
        "plugin",
        "queue_deadline",
        "request_id",
        "request_sent",
    )

    def __init__(self, plane: DataPlane, client: DataPlaneProtocol, head: RequestHead) -> None:
        self._plane, self._client = plane, client
        self.plugin, self.action = head.plugin, head.action
        self.method, self._raw_target, self._headers = head.method, head.raw_target, head.headers
        self._http10, self._keep_alive = head.http10, head.keep_alive
        self._length: int | None = head.content_length
        self._chunked_in = head.chunked
        self.request_id = rules.request_id_of(head.headers) or plane.new_request_id()
        self.done = self.request_sent = False
        self._admitted = self._head_sent = self._chunked_out = self._body_complete = False
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._out: list[bytes] = []
        self._status = 0
        self._started = self._last = asyncio.get_running_loop().time()
        self._deadline = self._hold_until = self._redial_at = self.queue_deadline = _NEVER
        self._upstream: Upstream | None = None
        self._target: Target | None = None
        self._route: Route
        self._policy: Policy

    # -- admission ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Decide whether this request may go on, cheapest question first."""
        plane = self._plane
        route = plane.routes.get(self.plugin)
        policy = plane.policy(route, self.action) if route is not None else None
        if plane.authorized is not None and (policy is None or not policy.public):
            key = rules.bearer_of(self._headers)
            if key is None or not plane.authorized(key):
                return self.fail("Unauthenticated", "a valid key is needed: Authorization: Bearer <key>")
        if route is None or policy is None:
            return self.fail("PluginNotFound", f"there is no plugin {self.plugin!r}")
        self._route, self._policy = route, policy
        if policy.methods and self.method not in policy.methods:
            allowed = b", ".join(sorted(policy.methods)).decode()
            return self.fail(
                "MethodNotAllowed", f"{self.action} answers {allowed}", extra=f"allow: {allowed}\r\n"
            )
        if (self._length or 0) > policy.max_body:
            return self.fail("BodyTooLarge", f"the body is over {policy.max_body} bytes")
        self._deadline = self._started + policy.total
        plane.active.add(self)
        return self._enter(route)

    def _enter(self, route: Route) -> None:
        traffic = route.manifest.spec.traffic
        bulkhead = self._plane.bulkheads[self.plugin]
        self.queue_deadline = self._started + traffic.queue.timeout_seconds
        entered = bulkhead.enter(self, limit=traffic.max_concurrent_requests, length=traffic.queue.max_length)
        if entered is None:
            self.fail("QueueFull", f"{self.plugin} has all the requests it can take", retry_after=1)
        elif entered:
            self.admitted()

    def admitted(self) -> None:
        """There is a place for this request."""
        self._admitted = True
        self.queue_deadline = _NEVER
        self.dispatch()

    # -- finding an instance ------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Send the request to the instance that serves now, or wait for one."""
        plane = self._plane
        plane.unhold(self)
        route = plane.routes.get(self.plugin)
        if route is None:
            return self.fail("PluginNotFound", f"there is no plugin {self.plugin!r}")
        self._route = route
        self._redial_at = _NEVER
        if route.target is None:
            return self._wait_for_instance(route.hold)
        self._target = route.target
        route.target.enter()
        plane.pool(route.target).send(self)
        return None

    def _wait_for_instance(self, hold: bool) -> None:
        now = asyncio.get_running_loop().time()
        self._hold_until = min(self._hold_until, now + HOLD_SECONDS)
        if not hold or now >= self._hold_until:
            return self._not_ready(f"{self.plugin} is not ready")
        self._plane.hold(self)
        return None

    def _not_ready(self, detail: str) -> None:
        wait = 1 if self._route.target else round(self._route.retry_after)
        self.fail("PluginNotReady", detail, retry_after=max(1, wait))

    def refused(self, error: UpstreamError) -> None:
        """No connection to the instance could be made."""
        self._leave_target()
        self._plane.suspect(self.plugin)
        if isinstance(error, UpstreamIdentity):
            return self.fail("UpstreamIdentity", error.detail)
        self._wait_for_instance(hold=True)
        self._redial_at = asyncio.get_running_loop().time() + REDIAL_SECONDS
        return None

    def connected(self, upstream: Upstream) -> None:
        """Send the head, and what has come of the body so far."""
        self._upstream = upstream
        self._hold_until = _NEVER
        self._last = asyncio.get_running_loop().time()
        pieces = [self.method, b" ", self._raw_target, b" HTTP/1.1\r\n"]
        pieces += rules.to_plugin(self._headers)
        pieces += (b"x-request-id: ", self.request_id, b"\r\n", self._policy.deadline_field)
        pieces.append(self._client.forwarded)
        if self._chunked_in:
            pieces.append(b"transfer-encoding: chunked\r\n")
        elif self._length is not None:
            pieces.append(b"content-length: %d\r\n" % self._length)
        pieces.append(b"\r\n")
        body, self._body = self._body, []
        pieces += [self._framed(chunk) for chunk in body]
        if self._body_complete:
            pieces += self._last_chunk()
        upstream.write(b"".join(pieces))
        self._client.resume_request()

    # -- the request's body -------------------------------------------------------------------------------------

    def feed(self, chunk: bytes) -> None:
        if self.done:
            return
        self._body_bytes += len(chunk)
        if self._body_bytes > self._policy.max_body:
            return self.fail("BodyTooLarge", f"the body is over {self._policy.max_body} bytes")
        self._last = asyncio.get_running_loop().time()
        if self._upstream is not None:
            self._upstream.write(self._framed(chunk))
        else:
            self._body.append(chunk)
            if self._body_bytes > BUFFER:
                self._client.pause_request()
        return None

    def feed_end(self) -> None:
        self._body_complete = True
        if self._upstream is not None and not self.done:
            for piece in self._last_chunk():
                self._upstream.write(piece)

    def _framed(self, chunk: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked_in else chunk

    def _last_chunk(self) -> list[bytes]:
        self.request_sent = True
        return [b"0\r\n\r\n"] if self._chunked_in else []

    def upstream_full(self) -> None:
        self._client.pause_request()

    def upstream_writable(self) -> None:
        self._client.resume_request()

    # -- the answer ---------------------------------------------------------------------------------------------

    def head_received(
        self, status: int, headers: rules.Headers, length: int | None, *, bodiless: bool
    ) -> None:
        self._status = status
        self._last = asyncio.get_running_loop().time()
        out = [STATUS_LINE[status], *rules.to_client(headers)]
        if length is not None and status not in {204, 304}:
            out.append(b"content-length: %d\r\n" % length)
        elif not bodiless and self._http10:
            self._keep_alive = False
        elif not bodiless:
            self._chunked_out = True
            out.append(b"transfer-encoding: chunked\r\n")
        out += self._common_fields()
        out.append(b"\r\n")
        self._out += out

    def _common_fields(self) -> list[bytes]:
        fields = [b"x-request-id: ", self.request_id, b"\r\n", self._client.date_field()]
        if not self._keep_alive:
            fields.append(b"connection: close\r\n")
        elif self._http10:
            fields.append(b"connection: keep-alive\r\n")
        return fields

    def body_received(self, chunk: bytes) -> None:
        if self._chunked_out:
            self._out += (b"%x\r\n" % len(chunk), chunk, b"\r\n")
        else:
            self._out.append(chunk)

    def flush(self) -> None:
        """Hand what has gathered to the client."""
        if self._out:
            self._head_sent = True
            out, self._out = self._out, []
            self._last = asyncio.get_running_loop().time()
            self._client.write(b"".join(out))

    def body_ended(self) -> None:
        """The answer is whole; the upstream has let go of this exchange."""
        self._upstream = None
        if self._chunked_out:
            self._out.append(b"0\r\n\r\n")
        if not self._body_complete:
            self._keep_alive = False  # answered early: the rest of the body is not worth reading
        self.flush()
        self._close()

    def client_full(self) -> None:
        if self._upstream is not None:
            self._upstream.pause_reading()

    def client_writable(self) -> None:
        if self._upstream is not None:
            self._upstream.resume_reading()

    # -- what can go wrong --------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Enforce what is due; called about ten times a second."""
        if self.queue_deadline <= now:
            self.fail("QueueFull", f"no place at {self.plugin} became free in time", retry_after=1)
        elif self._hold_until <= now:
            self._not_ready(f"{self.plugin} did not become ready in time")
        elif self._redial_at <= now:
            self.dispatch()
        elif self._deadline <= now:
            self.fail("DurationExceeded", f"the request took over {self._policy.total:g} s")
        elif self._upstream is not None:
            self._check_silence(now)

    def _check_silence(self, now: float) -> None:
        policy, silent = self._policy, now - self._last
        if self._head_sent or not self._body_complete:
            if silent > policy.idle and not self._client.write_paused:
                self.fail("IdleTimeout", f"nothing moved for {policy.idle:g} s")
        elif silent > policy.first_byte:
            self.fail(
                "FirstByteTimeout", f"{self.plugin} did not begin to answer within {policy.first_byte:g} s"
            )

    def upstream_lost(self) -> None:
        """The connection broke before the answer was whole."""
        self._upstream = None
        self._plane.suspect(self.plugin)
        if self._head_sent or self._out:
            return self.fail("UpstreamUnreachable", "the plugin hung up in the middle of its answer")
        self._leave_target()
        repeatable = self.method in _SAFE and self._body_bytes == 0 and self._body_complete
        if repeatable:
            self.request_sent = False
            self._wait_for_instance(hold=True)
            self._redial_at = asyncio.get_running_loop().time() + REDIAL_SECONDS
        else:
            detail = (
                f"{self.plugin} stopped while it had this request; it may or may not have been carried out"
            )
            self._not_ready(detail)
        return None

    def upstream_invalid(self) -> None:
        self._out.clear()
        self.fail("UpstreamInvalid", "the plugin's answer is not valid HTTP")

    def abort(self) -> None:
        """The client is gone."""
        if not self.done:
            self._keep_alive = False
            self._status = 499
            self._give_up()
            self._close()

    def fail(self, reason: str, detail: str, *, retry_after: int | None = None, extra: str = "") -> None:
        """Answer with a problem, or, when the answer has begun, cut the connection."""
        if self.done:
            return
        self._give_up()
        if self._head_sent:
            self._client.cut()
        else:
            self._answer_problem(reason, detail, retry_after, extra)
        self._close()

    def _answer_problem(self, reason: str, detail: str, retry_after: int | None, extra: str) -> None:
        status, body = problem_body(reason, detail, request_id=self.request_id.decode("latin-1"))
        self._status = status
        self._out.clear()
        if not self._body_complete:
            self._keep_alive = False
        head = f"content-type: application/problem+json\r\nxcore-reason: {reason}\r\n{extra}"
        if status == 401:
            head += "www-authenticate: Bearer\r\n"
        if retry_after is not None:
            head += f"retry-after: {retry_after}\r\n"
        length = b"content-length: %d\r\n" % len(body)
        pieces = [STATUS_LINE[status], head.encode("latin-1"), length, *self._common_fields(), b"\r\n"]
        self._client.write(b"".join(pieces) + (b"" if self.method == b"HEAD" else body))

    def _give_up(self) -> None:
        """Let go of everything held: queue, hold, connection."""
        self._plane.unhold(self)
        if self.queue_deadline != _NEVER and not self._admitted:
            self._abandon_queue()
        if self._upstream is not None:
            upstream, self._upstream = self._upstream, None
            upstream.cancel()

    def _abandon_queue(self) -> None:
        bulkhead = self._plane.bulkheads[self.plugin]
        if self in bulkhead:
            bulkhead.abandon(self)

    def _leave_target(self) -> None:
        if self._target is not None:
            target, self._target = self._target, None
            target.leave()

    def _close(self) -> None:
        if self.done:
            return
        self.done = True
        self._leave_target()
        plane = self._plane
        plane.active.discard(self)
        if self._admitted:
            plane.bulkheads[self.plugin].leave(self._route.manifest.spec.traffic.max_concurrent_requests)
        counters = plane.counters[self.plugin if plane.routes.get(self.plugin) else ""]
        elapsed = asyncio.get_running_loop().time() - self._started
        counters.by_status[self._status] += 1
        counters.in_buckets[bisect_left(BUCKETS, elapsed)] += 1
        counters.seconds += elapsed
        self._client.exchange_done(keep_alive=self._keep_alive)


class RequestHead:
    """A request's head as the guard let it through; names in lower case, values as they came."""

    __slots__ = (
        "action",
        "chunked",
        "content_length",
        "headers",
        "http10",
        "keep_alive",
        "method",
        "plugin",
        "raw_target",
    )

    def __init__(self, method: bytes, raw_target: bytes, headers: rules.Headers) -> None:
        self.method, self.raw_target, self.headers = method, raw_target, headers
        self.plugin = self.action = ""
        self.chunked = self.http10 = False
        self.keep_alive = True
        self.content_length: int | None = None
