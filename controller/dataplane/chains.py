"""Which requests each instance is serving, by what it was told of them: so that a call is known to belong to one.

What it was told is worth something to that instance alone, and while the request lasts. A call that names nothing, or
something else, counts as made for the deepest request the instance serves: leaving the name out makes no chain shorter.
Of several controllers that share plugins, each knows its own requests alone: a name says behind an @ where it is known.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from controller.dataplane.request import Refusal
from xcore.plugin.calling import CALL_HEADER

if TYPE_CHECKING:
    from controller.dataplane.exchange import Exchange
    from controller.dataplane.plane import DataPlane
    from xcore.runtimes.callsockets import Caller

MAX_DEPTH = 8


class Chains:
    """One per data plane; only of plugins that may call. `here`: where this controller takes calls, HOST:PORT; empty for one that is alone."""

    def __init__(self, here: str = "") -> None:
        self._here = f"@{here}".encode() if here else b""
        # By plugin and instance: two plugins may have instances of one name.
        self._serving: dict[tuple[str, str], dict[bytes, Exchange]] = {}
        self._names: dict[Exchange, tuple[tuple[str, str], bytes]] = {}

    def __bool__(self) -> bool:
        return bool(self._serving or self._names)

    def enter(self, plugin: str, instance: str, exchange: Exchange) -> bytes:
        """Give the line that tells the instance what it may name this request by."""
        name = secrets.token_hex(16).encode() + self._here
        key = plugin, instance
        self._serving.setdefault(key, {})[name] = exchange
        self._names[exchange] = key, name
        return b"%b: %b\r\n" % (CALL_HEADER, name)

    def leave(self, exchange: Exchange) -> None:
        """The instance has nothing to do with the request any more."""
        key, name = self._names.pop(exchange, (("", ""), b""))
        if name:
            serving = self._serving[key]
            del serving[name]
            if not serving:
                del self._serving[key]

    def find(self, caller: Caller, name: bytes) -> Exchange | None:
        """Give the request of that name; raises Refusal for one that another controller knows."""
        found = self._of(caller).get(name)
        if found is None and b"@" in name and not (self._here and name.endswith(self._here)):
            raise Refusal(
                "Misdirected", "this call belongs to a request of the controller named behind the @"
            )
        return found

    def callers(self, caller: Caller, outer: Exchange | None) -> tuple[str, ...]:
        """Give the plugins that a call goes through: their names where it is known to belong to `outer`."""
        if outer is not None:
            return (*outer.callers, caller.plugin)
        deepest = max((len(exchange.callers) for exchange in self._of(caller).values()), default=0)
        return (*("",) * deepest, caller.plugin)

    def _of(self, caller: Caller) -> dict[bytes, Exchange]:
        return self._serving.get((caller.plugin, caller.instance), {})


def permit(plane: DataPlane, callers: tuple[str, ...], callee: str) -> None:
    """Judge whether the last of the callers may call; raises Refusal. Who may not, learns nothing of what there is."""
    caller = callers[-1]
    way = plane.ways.get(caller)
    if way is None or callee not in way.calls:
        raise Refusal("Forbidden", f"{caller} does not name {callee} in spec.calls")
    if (caller, callee) not in plane.granted:
        raise Refusal(
            "Forbidden",
            f"the operator lets {caller} not call {callee}: XCORE_GRANTED_CALLS needs {caller}:{callee}",
        )
    if callee in callers:
        raise Refusal("CallLoop", f"{callee} waits for this very call: {' → '.join((*callers, callee))}")
    if len(callers) > MAX_DEPTH:
        raise Refusal("CallLoop", f"plugins call each other over {MAX_DEPTH} deep")
