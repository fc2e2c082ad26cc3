"""Which methods are actions, and what is refused when a plugin loads."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from tests.xcore.plugin import elsewhere
from xcore.plugin import Context, Plugin, Response, action
from xcore.plugin.host import Host
from xcore.plugin.testing import serve


class Base(Plugin):
    @action
    async def inherited(self) -> str:
        return "base"

    @action
    async def overridden(self) -> str:
        return "base"

    @action
    async def hidden(self) -> str:
        return "base"


class Odd(elsewhere.Mixin, Base):
    """What the scan for actions meets in the wild."""

    class Inner:
        pass

    @property
    def angry(self) -> str:
        raise SystemExit("nobody asked you")

    @action
    async def overridden(self) -> str:
        return "derived"

    async def hidden(self) -> str:
        return "no action any more"

    @action
    @staticmethod
    def static(self: int) -> int:  # noqa: PLW0211
        return self

    @staticmethod
    @action
    def still_static(n: int) -> int:
        return n

    @classmethod
    @action
    def of_class(cls) -> str:
        return cls.__name__

    @action
    @functools.cache  # noqa: B019
    def cached(self) -> str:
        return "cached"

    @action
    async def nested(self, argument: Args) -> str:
        return argument["a"]

    from typing import TypedDict as _TypedDict

    class Args(_TypedDict):
        a: str


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("inherited", {}, "base"),
        ("overridden", {}, "derived"),
        ("mixed_in", {"local": {"n": 2}}, {"n": 3}),
        ("static", {"self": 4}, 4),
        ("still_static", {"n": 4}, 4),
        ("of_class", {}, "Odd"),
        ("cached", {}, "cached"),
        ("nested", {"argument": {"a": "x"}}, "x"),
    ],
)
async def test_actions_of_every_kind_of_method(name, arguments, result):
    """Inherited, mixed in from a module with types of its own, static, cached; no property is ever run."""
    async with serve(Odd) as client:
        assert await client.call(name, **arguments) == (200, result)
        assert (await client.call("hidden")).status == 404
        assert (await client.call("angry")).status == 404


def load(**members: Any) -> Host:
    return Host(type("P", (Plugin,), members), Context("p"))


def test_names_that_clash_are_refused():
    """Twice the same name, a name no URL should have, a hook made public by accident."""

    async def act(self) -> None:
        pass

    async def act2(self) -> None:
        pass

    with pytest.raises(TypeError, match="action same: the name is used twice"):
        load(same=action(act), other=action(name="same")(act2))
    with pytest.raises(TypeError, match="a name matches"):
        load(act=action(name="a/b")(act))
    with pytest.raises(TypeError, match="action shutdown: shutdown is a hook"):
        load(shutdown=action(act2))
    with pytest.raises(TypeError, match=r"@action\(name=\.\.\.\)"):
        action("greet")


class Point(msgspec.Struct):
    x: int


@dataclass
class Line:
    start: Point


class Positive:
    """Not a type msgspec knows."""


def refused(method) -> str:
    plugin = type("Refused", (Plugin,), {"act": action(method)})
    with pytest.raises(TypeError, match=r"^action act: ") as error:
        Host(plugin, Context("refused"))
    return str(error.value)


async def _positional(self, a, /):
    pass


async def _starred(self, *args):
    pass


async def _keywords(self, **more):
    pass


async def _twice(self, a: bytes, b: bytes):
    pass


async def _unknown(self, a: Positive):
    pass


async def _unknown_result(self) -> Positive:
    return Positive()


async def _unresolved(self, a: Nowhere):  # noqa: F821
    pass


async def _stream(self) -> int:
    yield 1


def _sync_stream(self) -> list[int]:
    yield 1


def _mixed_stream(self) -> Iterator[int | bytes]:
    yield 1


async def _stream_of_responses(self) -> AsyncIterator[Response]:
    yield Response()


async def _untagged(self) -> Point | Line:
    return Point(1)


@pytest.mark.parametrize(
    ("method", "why"),
    [
        (_positional, "parameter a must be a named parameter"),
        (_starred, "parameter args must be a named parameter"),
        (_keywords, "parameter more must be a named parameter"),
        (_twice, "only one parameter may be bytes"),
        (_unknown, "Positive"),
        (_unknown_result, "Positive"),
        (_unresolved, "Nowhere"),
        (_stream, "a generator is annotated as AsyncIterator"),
        (_sync_stream, "a generator is annotated as AsyncIterator"),
        (_mixed_stream, "all bytes, or all JSON"),
        (_stream_of_responses, "Response is no item"),
        (_untagged, "union"),
    ],
)
def test_what_cannot_be_checked_is_refused_at_load(method, why):
    """The plugin does not start, and the action and the reason are named."""
    assert why in refused(method)
