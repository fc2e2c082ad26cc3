"""A mixin whose annotations are text, with a type only this module knows."""

from __future__ import annotations

from dataclasses import dataclass

from xcore.plugin import action


@dataclass
class Local:
    n: int


class Mixin:
    @action
    async def mixed_in(self, local: Local) -> Local:
        return Local(local.n + 1)
