"""Pinning images: the name in a manifest becomes the id of what it names now, and the id takes part in the revision.

A tag that moves on the engine is found within `fresh_seconds` and rolls the plugin; until then, and where the new
image cannot be had, the old one serves on.
"""

from __future__ import annotations

from collections.abc import Callable

from xcore.clock import Clock, SystemClock, sleep
from xcore.errors import RuntimeUnavailable
from xcore.loader import Declared
from xcore.runtimes.seams import Engine
from xcore.sources import Prepared

FRESH_SECONDS = 15.0
AGAIN_SECONDS = 2.0


class Images:
    """See `Preparation`."""

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self.fresh_seconds: float | None = FRESH_SECONDS
        self._engine, self._clock = engine, clock or SystemClock()

    def key(self, declared: Declared) -> str | None:
        manifest = declared.manifest
        if manifest is None or manifest.spec.source.image is None or self._engine.check(manifest):
            return None
        return manifest.spec.source.image

    async def prepare(self, declared: Declared, say: Callable[[str], None]) -> Prepared:
        image = self.key(declared)
        assert image is not None
        while True:
            try:
                return Prepared(image=await self._engine.pin(image, say))
            except RuntimeUnavailable as error:
                say(error.detail)  # no fault of the image: waited out
            await sleep(self._clock, AGAIN_SECONDS)
