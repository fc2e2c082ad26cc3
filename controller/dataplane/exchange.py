"""One request through the data plane: admitted, perhaps queued or held, sent, and its answer streamed back.

Runs as callbacks on the event loop, without a task of its own. Both directions have back-pressure. What it reads is a
`Request`, what it tells is an `Answer`; here is what happens between them, and everything that can go wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.dataplane.admission import IN_DOUBT, admit, not_ready, overdue, too_large
from controller.dataplane.flow import NEVER as _NEVER, Flow
from controller.dataplane.plane import DataPlane
from controller.dataplane.request import Refusal, Request
from controller.dataplane.way import Policy, Way
from xcore.errors import UpstreamError, UpstreamIdentity
from xcore.routes import HOLD_SECONDS, Target

if TYPE_CHECKING:
    from controller.dataplane.client import Client
    from controller.dataplane.connection import Connection

REDIAL_SECONDS = 0.1
MAX_SENDINGS = 3
CLIENT_GONE = 499


class Exchange(Flow):
    """`begin` first, then the client's body by `feed` and `feed_end`; the client's protocol hears `exchange_done`."""

    __slots__ = (
        "_admitted",
        "_avoid",
        "_hold_until",
        "_queue_until",
        "_redial_at",
        "_sendings",
        "_started",
        "_target",
        "_way",
        "done",
    )

    def __init__(self, plane: DataPlane, client: Client, request: Request) -> None:
        super().__init__(plane, client, request)
        self.done = self._admitted = False
        self._sendings = 0
        self._started = self._last
        self._hold_until = self._redial_at = self._queue_until = _NEVER
        self._target: Target | None = None
        self._avoid: set[Target] = set()  # those that refused it just now
        self._way: Way = plane.nowhere

    def begin(self) -> None:
        """Take a place at the plugin, or in its queue."""
        request, plane = self.request, self._plane
        way = self._way = plane.ways.get(request.plugin, plane.nowhere)
        try:
            self._policy = self._judge()
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self._deadline = self._started + self._policy.total
        plane.active.add(self)
        entered = way.bulkhead.enter(self, limit=way.limit, length=way.queue)
        if entered:
            self.admitted()
        elif entered is None:
            self.fail("QueueFull", f"{request.plugin} has all the requests it can take", retry_after=1)
        else:
            self._queue_until = self._started + way.queue_seconds

    def _judge(self) -> Policy:
        return admit(self.request, self._way, self._plane.gate, self._client.sender.address)

    def admitted(self) -> None:
        """There is a place for this request."""
        self._admitted = True
        self._queue_until = _NEVER
        self.dispatch()

    # -- finding an instance ------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Send the request to an instance that serves now, or wait for one."""
        way = self._way
        way.held.discard(self)
        self._redial_at = _NEVER
        if picked := way.pick(self._avoid):
            self._target, pool = picked
            self._target.enter()
            pool.send(self)
        elif way.route is not None:
            self._wait_for_instance(hold=way.route.hold)
        else:
            self.fail("PluginNotFound", f"there is no plugin {self.request.plugin!r}")

    def _wait_for_instance(self, *, hold: bool) -> None:
        now = self._plane.clock()
        self._hold_until = min(self._hold_until, now + HOLD_SECONDS)
        if hold and now < self._hold_until:
            self._way.held.add(self)
        else:
            self._refuse(not_ready(self.request.plugin, self._way.route))

    def _redial(self) -> None:
        """Try another instance now, or any of them in a moment."""
        if target := self._leave_target():
            self._avoid.add(target)
        if not self._avoid.issuperset(self._way.pools):
            self.dispatch()
            return
        self._avoid.clear()
        self._wait_for_instance(hold=True)
        self._redial_at = self._plane.clock() + REDIAL_SECONDS

    def refused(self, error: UpstreamError) -> None:
        """No connection to the instance could be made; not a byte of the request was sent."""
        self._plane.suspect(self.request.plugin)
        if isinstance(error, UpstreamIdentity):
            self._plane.routes.on_impostor(self.request.plugin, error.detail)
            self.fail(error.reason, error.detail)
        else:
            self._redial()

    def connected(self, upstream: Connection) -> None:
        """Send the head, and what has come of the body so far."""
        self._upstream = upstream
        self._sendings += 1
        self._hold_until = _NEVER
        self._last = self._plane.clock()
        client, request = self._client, self.request
        if not request.complete:
            if request.expects and not request.size:
                client.invite()
            client.resume_request()
        lines = self._policy.lines
        if self._way.calls and self._target is not None:
            lines += self._plane.chains.enter(self.request.plugin, self._target.instance, self)
        head = request.head(lines, client.sender.lines, cut=self._way.cut)
        upstream.transport.write(head)
        if client.write_paused:
            upstream.transport.pause_reading()  # it still has to read an earlier answer

    # -- the request's body -------------------------------------------------------------------------------------

    def feed(self, chunk: bytes) -> None:
        if self.done:
            return
        request = self.request
        request.size += len(chunk)
        if request.size > self._policy.max_body:
            self._refuse(too_large(self._policy))
            return
        self._last = self._plane.clock()
        if self._upstream is not None:
            self._upstream.transport.write(request.framed(chunk))
        elif not request.keep(chunk):
            self._client.pause_request()

    def feed_end(self) -> None:
        request = self.request
        if request.complete or self.done:
            return
        request.complete = True
        self._client.resume_request()  # nothing more comes: hear the client leave
        if self._upstream is not None and (end := request.end()):
            self._upstream.transport.write(end)

    # -- the answer ---------------------------------------------------------------------------------------------

    def head_received(self, status: int, lines: list[bytes], length: int | None, *, bodiless: bool) -> None:
        if not self.request.complete:
            self.request.keep_alive = False  # an early answer: the rest of the body is not worth reading
        self.answer.head(status, lines, length, bodiless=bodiless)

    def flush(self) -> None:
        """Hand what has gathered to the client."""
        if self.answer.flush_body():
            self._last = self._plane.clock()

    def answered(self) -> None:
        """The answer is whole; the upstream has let go of this exchange."""
        self._upstream = None
        self.answer.end()
        if not self.request.complete:
            self.request.keep_alive = False
        self._close()

    # -- what can go wrong --------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Enforce what is due; called about ten times a second."""
        plugin = self.request.plugin
        if self.done:
            return  # by what befell another, in this very round
        self.answer.age()
        if self._queue_until <= now:
            self.fail("QueueFull", f"no place at {plugin} became free in time", retry_after=1)
        elif self._hold_until <= now:
            self._refuse(not_ready(plugin, self._way.route, "did not become ready in time"))
        elif self._redial_at <= now:
            self.dispatch()
        elif self._deadline <= now:
            self.fail("DurationExceeded", f"the request took over {self._policy.total:g} s")
        elif self._upstream is not None and not self._client.write_paused:
            late = overdue(self._policy, self.request, now - self._last, begun=self.answer.begun)
            if late is not None:
                self._refuse(late)

    def upstream_lost(self) -> None:
        """The connection broke before the answer was whole."""
        self._upstream = None
        request = self.request
        self._plane.suspect(request.plugin)
        if self.answer.begun:
            self.fail("UpstreamUnreachable", "the plugin hung up in the middle of its answer")
        elif request.repeatable and self._sendings < MAX_SENDINGS:
            self._redial()
        else:
            self._refuse(not_ready(request.plugin, self._way.route, IN_DOUBT))

    def upstream_invalid(self) -> None:
        self.fail("UpstreamInvalid", "the plugin's answer is not valid HTTP")

    def abort(self) -> None:
        """The client is gone."""
        if not self.done:
            self.request.keep_alive = False
            self.answer.status = CLIENT_GONE
            self._give_up()
            self._close()

    def fail(self, reason: str, detail: str, *, retry_after: int | None = None) -> None:
        """Answer with a problem, or, when the answer has begun, cut the connection."""
        self._refuse(Refusal(reason, detail, retry_after=retry_after))

    def _refuse(self, refusal: Refusal) -> None:
        if self.done:
            return
        self._give_up()
        if not self.request.complete or self.answer.begun:
            self.request.keep_alive = False
        if self.answer.begun:
            self._client.cut()
        else:
            self.answer.problem(refusal)
        self._close()

    def _give_up(self) -> None:
        """Let go of everything held: queue, hold, connection."""
        self._way.held.discard(self)
        if self._queue_until != _NEVER:
            self._way.bulkhead.abandon(self)
            self._queue_until = _NEVER
        if self._upstream is not None:
            upstream, self._upstream = self._upstream, None
            upstream.cancel()

    def _leave_target(self) -> Target | None:
        target, self._target = self._target, None
        if target is not None:
            target.leave()
            self._plane.chains.leave(self)
        return target

    def _close(self) -> None:
        self.done = True
        self._leave_target()
        plane, way = self._plane, self._way
        plane.active.discard(self)
        way.counters.count(self.answer.status, plane.clock() - self._started)
        self._client.exchange_done(keep_alive=self.request.keep_alive)
        if self._admitted:
            way.bulkhead.leave(way.limit)
