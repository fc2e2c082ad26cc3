"""A mirror of one kind of object: listed, then watched. Level-triggered: a change is a hint, what is so is read here.

Never silent for long: the server is asked to end every watch within WATCH_SECONDS, so a longer silence is a stall, noticed
after SILENCE_SECONDS, and a new watch goes on from the last version heard. A version that is too old (410) lists anew.
While the server is away, or says no, the last that was known stands; `trouble` tells, once that is no hiccup.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

from xcore.clock import Clock, SystemClock, sleep
from xcore.errors import RuntimeUnavailable
from xcore.runtimes.kubernetes.client import Cluster, Expired, Object, Query, Refusal

WATCH_SECONDS = 50
SILENCE_SECONDS = 60.0
STALE_SECONDS = SILENCE_SECONDS + 10.0
# A server that was just started says no for a moment, until it has read who may do what.
REFUSED_SECONDS = 5.0
LONGEST_PAUSE = 5.0  # a server that is back is heard within 10 s, however long it was away
_log = logging.getLogger("xcore.kubernetes")

Key = tuple[str, str]  # namespace (empty for what has none) and name


def key_of(item: Object) -> Key:
    meta = item["metadata"]
    return meta.get("namespace", ""), meta["name"]


class Selection(NamedTuple):
    """Which objects: those at a path that a query lets through; `slim`: of each its metadata alone."""

    path: str
    query: Mapping[str, str] = {}
    slim: bool = False


class Reflector:
    """`changed(item)` is called after every change, also with what was deleted, and for everything after a list.

    It must not raise or wait.
    """

    def __init__(
        self,
        cluster: Cluster,
        selection: Selection,
        *,
        changed: Callable[[Object], None] = lambda _item: None,
        clock: Clock | None = None,
    ) -> None:
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        self.failure: str = ""  # why it is not up to date
        self._cluster, self._changed = cluster, changed
        self._path, self._query, self._slim = selection
        self._clock = clock or SystemClock()
        self._version = ""
        self._heard = self._clock.time()
        self._refused_at: float | None = None

    @property
    def age(self) -> float:
        """Seconds since the server was last heard."""
        return self._clock.time() - self._heard

    @property
    def trouble(self) -> str:
        """Why what it holds may be old: never listed, refused for a while, or not heard for long; else empty."""
        refused_at, now = self._refused_at, self._clock.time()
        refused = refused_at is not None and now - refused_at > REFUSED_SECONDS
        if self.synced.is_set() and not refused and self.age <= STALE_SECONDS:
            return ""
        return self.failure or f"the API server was not heard for {self.age:.0f} s"

    async def run(self) -> None:
        """Mirror for ever."""
        failures = 0
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                failures = 0
                continue
            except Expired:
                self._version = ""
                failures = min(failures, 1)
            except Refusal as refusal:
                self._version = ""
                if self._refused_at is None:
                    self._refused_at = self._clock.time()
                self._tell(_words(self._path, refusal), refusal.detail)
            except RuntimeUnavailable as error:
                self._tell(error.detail)
            failures += 1
            pause = min(LONGEST_PAUSE, 0.25 * 2 ** min(failures, 10))
            await sleep(self._clock, pause * random.uniform(0.5, 1.0))  # noqa: S311  spread, no secret

    async def _list(self) -> None:
        items, version = await self._cluster.list(self._path, self._query, slim=self._slim)
        found = {key_of(item): _trimmed(item) for item in items}
        touched = {**self.objects, **found}
        self.objects, self._version = found, version
        self._hear()
        self.synced.set()
        for item in touched.values():
            self._changed(item)

    async def _watch(self) -> None:
        asked: Query = {
            **self._query,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH_SECONDS,
        }
        events = self._cluster.watch(
            self._path, asked, silence=SILENCE_SECONDS, begun=self._hear, slim=self._slim
        )
        async for event in events:
            self._hear()
            self._take(event["type"], event["object"])
        self._hear()

    def _take(self, kind: str, item: Object) -> None:
        self._version = item["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return
        key = key_of(item)
        if kind == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = _trimmed(item)
        self._changed(item)

    def _hear(self) -> None:
        self._heard, self._refused_at, self.failure = self._clock.time(), None, ""

    def _tell(self, failure: str, said: str = "") -> None:
        if not self.failure:
            _log.warning("%s: %s", self._path, said or failure)
        self.failure = failure


def _words(path: str, refusal: Refusal) -> str:
    """Say what a refusal means, without the server's own words: those name accounts, and anybody may ask /readyz."""
    kind = path.rpartition("/")[2]
    namespace = path.partition("/namespaces/")[2].partition("/")[0]
    where = f" in the namespace {namespace}" if namespace else ""
    if refusal.status == 403:
        return f"not allowed to read {kind}{where}: the controller's role or its binding is gone"
    if refusal.status == 404:
        return f"the API server knows no {kind}: their definition is gone"
    return f"the API server refuses to list {kind}{where} ({refusal.status})"


def _trimmed(item: Object) -> Object:
    """Without what nobody here reads: it is half of an object's size."""
    item["metadata"].pop("managedFields", None)
    return item
