"""Everything that is wanted, whatever door it came by, made ready to run.

Sources declare: plugin folders, plugins sent through the API. What a plugin needs besides its code (packed dependencies,
an image) is *prepared* in the background: that may take minutes and may fail, and holds up nobody else. Meanwhile what
was accepted before runs on, and the status tells the progress.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from xcore.bundle import revision, sealed
from xcore.clock import Clock, SystemClock
from xcore.errors import XcoreError
from xcore.loader import Declared

RETRY_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 300.0
_UNREADABLE_SECONDS = 1.0
_log = logging.getLogger("xcore.sources")


class Source(Protocol):
    """One door. `scan` gives all that is declared behind it; it is called in a thread and raises InvalidSpec, OSError
    when it cannot tell: then nothing is changed, for unknown is never gone.
    """

    def scan(self) -> Sequence[Declared]: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a preparation adds: the code, a directory of packed dependencies, the id of the image to run, a seal of secrets."""

    code: Path | None = None
    digest: str = ""
    site: Path | None = None
    image: str = ""
    seal: str = ""


class Preparation(Protocol):
    """Makes one kind of thing that plugins need.

    `key` names what this plugin needs, None for nothing: while it stays the same, so does the result. `prepare` makes
    it, or finds it made: idempotent, may be cancelled at any await and leaves nothing half-done; `say` takes progress in
    a few words. What it raises as XcoreError is told as the plugin's refusal and tried again, after longer and longer
    waits. After `fresh_seconds` it is asked anew (None: never); until it answers, the last result holds.
    """

    fresh_seconds: float | None

    def key(self, declared: Declared) -> str | None: ...
    async def prepare(self, declared: Declared, say: Callable[[str], None]) -> Prepared: ...


@dataclass(slots=True, eq=False)
class _Work:
    """One preparation for one plugin, under way or done."""

    key: str
    progress: str = "preparing"
    prepared: Prepared | None = None
    error: XcoreError | None = None
    failures: int = 0
    due: float | None = None  # when it is asked again
    task: asyncio.Task[None] | None = None


class Sources:
    """Gathers, prepares, and hands over. Set `changed` when something behind a door is different."""

    def __init__(
        self,
        sources: Sequence[Source],
        preparations: Sequence[Preparation] = (),
        *,
        clock: Clock | None = None,
    ) -> None:
        self._sources, self._preparations = sources, preparations
        self._clock = clock or SystemClock()
        self._works: dict[tuple[str, int], _Work] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self.changed = asyncio.Event()

    async def follow(self, sync: Callable[[Sequence[Declared]], Awaitable[None]]) -> None:
        """Hand over everything at first and after every change, for ever; the only caller of `sync`."""
        said = ""
        while True:
            self.changed.clear()
            waiting, self._waiting = self._waiting, []
            try:
                await sync(await self.gather())
            except (XcoreError, OSError) as error:
                if said != str(error):
                    said = str(error)
                    _log.error("what is wanted cannot be read: %s", said)
                _tell(waiting, error)
                await asyncio.sleep(_UNREADABLE_SECONDS)
                continue
            said = ""
            _tell(waiting, None)
            due = self._next_due()
            await self._clock.wait(self.changed, None if due is None else due - self._clock.time())

    async def refresh(self) -> None:
        """Return once what is declared now has been handed over; raises what stood in the way."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self.changed.set()
        await future

    async def gather(self) -> list[Declared]:
        """Read every door; what is not ready to run yet says so in `pending`."""
        scans = [asyncio.to_thread(source.scan) for source in self._sources]
        declared = [self._made_ready(item) for items in await asyncio.gather(*scans) for item in items]
        wanted = {item.folder for item in declared}
        for place in [place for place in self._works if place[0] not in wanted]:
            _stop(self._works.pop(place))
        return declared

    async def aclose(self) -> None:
        tasks = [work.task for work in self._works.values() if work.task is not None]
        for work in self._works.values():
            _stop(work)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _made_ready(self, declared: Declared) -> Declared:
        for number in range(len(self._preparations)):
            if declared.error is not None or declared.pending:
                break
            declared = self._prepared(declared, number)
        return declared

    def _prepared(self, declared: Declared, number: int) -> Declared:
        place = (declared.folder, number)
        key = self._preparations[number].key(declared)
        work = self._works.get(place)
        if work is not None and work.key != key:
            _stop(self._works.pop(place))
            work = None
        if key is None:
            return declared
        if work is None:
            work = self._works[place] = _Work(key)
        first = work.prepared is None and work.error is None
        if work.task is None and (first or (work.due is not None and work.due <= self._clock.time())):
            work.due = None
            work.task = asyncio.create_task(self._run(work, declared, number))
        if work.prepared is not None:
            return _with(declared, work.prepared)
        if work.error is not None:
            return replace(declared, error=work.error)
        return replace(declared, pending=work.progress)

    async def _run(self, work: _Work, declared: Declared, number: int) -> None:
        preparation = self._preparations[number]

        def say(progress: str) -> None:
            if work.progress != progress:
                work.progress = progress
                self.changed.set()

        failure: XcoreError | None = XcoreError("it could not be prepared; the controller's log says why")
        wait: float | None = min(RETRY_SECONDS * 2**work.failures, LONGEST_RETRY_SECONDS)
        try:
            work.prepared = await preparation.prepare(declared, say)
            failure, wait = None, preparation.fresh_seconds
        except XcoreError as error:
            failure = error
        finally:  # also after an error of ours: it is told, and tried again
            work.error, work.task = failure, None
            work.failures = work.failures + 1 if failure else 0
            work.due = None if wait is None else self._clock.time() + wait
            self.changed.set()

    def _next_due(self) -> float | None:
        return min((work.due for work in self._works.values() if work.due is not None), default=None)


def _with(declared: Declared, prepared: Prepared) -> Declared:
    """Add what was prepared. An image's id takes part in the revision as the digest of code does, and so does a seal."""
    assert declared.manifest is not None
    if prepared.code is not None:
        named = revision(prepared.digest, declared.manifest)
        return replace(declared, code=prepared.code, digest=prepared.digest, revision=named)
    if prepared.seal:
        return replace(declared, revision=sealed(declared.revision, prepared.seal))
    if prepared.image:
        named = revision(prepared.image, declared.manifest)
        return replace(declared, image=prepared.image, revision=named)
    return replace(declared, site=prepared.site)


def _stop(work: _Work) -> None:
    if work.task is not None:
        work.task.cancel()


def _tell(waiting: Sequence[asyncio.Future[None]], error: BaseException | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
