"""Actions that yield: an answer made of items, as server-sent events or JSON lines, or of bytes.

The head is sent with the first item, so a generator that fails before it is an ordinary failure. Afterwards a failure is
told as the last event or line, and the answer is left unfinished: whoever serves the connection cuts it, and no client
takes it for whole. Whatever ends the answer also closes the generator. There is no heartbeat: silence is what
idleSeconds is about.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import threading
import typing
from collections import abc
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from xcore.plugin.accept import preferred
from xcore.plugin.arguments import members
from xcore.plugin.asgi import Answer, Scope, Send
from xcore.plugin.contained import Contained, PluginFailed
from xcore.plugin.results import RAW, BadResult, Results, is_raw, is_response
from xcore.plugin.threads import ActionThreads

# What a generator in a thread has left once its caller is gone, before its thread counts as stuck.
LEFT_SECONDS = 30.0
_log = logging.getLogger("xcore.plugin")
_END: Any = object()
_ITERATORS = (
    *(abc.AsyncIterator, abc.AsyncIterable, abc.AsyncGenerator),
    *(abc.Iterator, abc.Iterable, abc.Generator),
)


class Framing(NamedTuple):
    """How items and what ends them are written in one media type."""

    media: bytes
    before: bytes
    after: bytes
    error: bytes
    """Holds a problem document in its middle."""
    end: bytes

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        chosen = [(b"cache-control", b"no-store"), (b"vary", b"accept")] if self.error else []
        return [(b"content-type", self.media), *chosen]


EVENTS = Framing(
    b"text/event-stream", b"data: ", b"\n\n", b"event: error\ndata: %b\n\n", b"event: end\ndata: {}\n\n"
)
LINES = Framing(b"application/x-ndjson", b"", b"\n", b'{"error":%b}\n', b"")
BYTES = Framing(b"application/octet-stream", b"", b"", b"", b"")


class Items(Protocol):
    """What a stream is made of; `aclose` may come at any time, once."""

    async def __anext__(self) -> Any: ...
    async def aclose(self) -> None: ...


class Streaming:
    """How an action's items are written: bytes as they are, anything else checked and as JSON.

    Raises TypeError for an annotation that is no iterator, and for items that are not all bytes or all JSON.
    """

    def __init__(self, returns: Any) -> None:
        item = _item_of(returns)
        kinds = members(item)
        self.raw = all(map(is_raw, kinds))
        if not self.raw and any(is_raw(kind) or is_response(kind) for kind in kinds):
            raise TypeError("the items of a stream are all bytes, or all JSON; Response is no item")
        self.results = Results(item, "yielded")

    def framing(self, accept: bytes) -> Framing:
        if self.raw:
            return BYTES
        return EVENTS if preferred(accept, (LINES.media, EVENTS.media)) == EVENTS.media else LINES

    def write(self, item: Any) -> bytes:
        """Give an item's bytes; raises BadResult where the annotation does not allow it."""
        if not self.raw:
            return self.results.json(item)
        if isinstance(item, RAW):
            return bytes(item)
        raise BadResult(f"yielded {type(item).__name__} where its annotation says bytes")


class Opened:
    """A stream on its way. Without `begin`, none of the generator runs: an answer to HEAD."""

    def __init__(self, streaming: Streaming, framing: Framing, items: Items) -> None:
        self._streaming, self.framing, self._items = streaming, framing, items
        self._first = _END

    async def begin(self) -> None:
        """Raise what the plugin fails with before its first item."""
        try:
            self._first = await self._next()
        except BaseException:
            await self.close()
            raise

    async def send(self, send: Send, failed: Callable[[Exception], Answer]) -> None:
        """Send all of it, or as much as there is and what `failed` makes of the failure."""
        framing, item = self.framing, self._first
        try:
            await send({"type": "http.response.start", "status": 200, "headers": framing.headers})
            while item is not _END:
                await send(_piece(framing.before + item + framing.after, more=True))
                await asyncio.sleep(0)  # neither the generator nor the connection need ever have waited
                item = await self._next()
        except (PluginFailed, BadResult) as error:
            problem = failed(error).content
            if framing.error:
                await send(_piece(framing.error % problem, more=True))
            return
        finally:
            await self.close()
        await send(_piece(framing.end, more=False))

    async def _next(self) -> Any:
        try:
            with Contained(BadResult, _Over):
                item = await _anext(self._items)
                written = self._streaming.write(item)
        except _Over:
            return _END
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError  # which the generator has caught
        return written

    async def close(self) -> None:
        """Let the generator run its `finally`; a failure there has nobody to go to but the log."""
        try:
            with Contained():
                await self._items.aclose()
        except PluginFailed as failed:
            _log.error("a stream does not close", exc_info=failed.__cause__)


class _Over(Exception):
    """The generator has ended. (StopAsyncIteration inside Contained would be a failure.)"""


async def _anext(items: Items) -> Any:
    try:
        return await items.__anext__()
    except StopAsyncIteration:
        raise _Over from None


class InThreads:
    """A plain generator, run in a thread an item at a time. Inside its thread it cannot be interrupted."""

    def __init__(self, make: Callable[[], Any], threads: ActionThreads, deadline: float) -> None:
        self._generator = make()
        self._threads, self._deadline = threads, deadline
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._busy = False

    async def __anext__(self) -> Any:
        deadline, self._deadline = self._deadline, math.inf  # later ones are judged by idleSeconds
        item = await self._threads.run(self._next, deadline, left=LEFT_SECONDS)
        if item is _END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        with self._lock:
            self._left.set()
            if self._busy:
                return  # the thread does it when it comes back
        await self._threads.run(self._generator.close, math.inf, left=LEFT_SECONDS)

    def _next(self) -> Any:
        with self._lock:
            if self._left.is_set():
                return _END
            self._busy = True
        try:
            return next(self._generator, _END)
        finally:
            with self._lock:
                self._busy = False
                left = self._left.is_set()
            if left:
                self._generator.close()


def is_stream(method: Callable[..., Any]) -> bool:
    return inspect.isasyncgenfunction(method) or inspect.isgeneratorfunction(method)


def open_items(
    method: Callable[..., Any], arguments: dict[str, Any], threads: ActionThreads, deadline: float
) -> Items:
    """Call a generator function; nothing of its body runs yet."""
    if inspect.isasyncgenfunction(method):
        items: AsyncIterator[Any] = method(**arguments)
        return typing.cast("Items", items)
    return InThreads(partial(method, **arguments), threads, deadline)


def _item_of(returns: Any) -> Any:
    """The T of `AsyncIterator[T]` and its kin; Any where nothing is said."""
    if returns is Any:
        return Any
    origin = typing.get_origin(returns) or returns
    if origin not in _ITERATORS:
        raise TypeError("a generator is annotated as AsyncIterator[...] or Iterator[...] of its items")
    return next(iter(typing.get_args(returns)), Any)


def _piece(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def accepted(scope: Scope) -> bytes:
    """All `Accept` fields as one."""
    return b",".join(value for name, value in scope["headers"] if name == b"accept")
