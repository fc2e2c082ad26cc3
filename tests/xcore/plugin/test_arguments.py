"""What an action takes: typed, checked, and every mistake named with its field."""

import datetime as dt
import enum
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from xcore.plugin import Plugin, action
from xcore.plugin.testing import serve


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Named(TypedDict, total=False):
    name: str


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Line:
    start: Point
    tags: list[str] = field(default_factory=list)


@dataclass
class Hostile:
    kind: str

    def __post_init__(self) -> None:
        if self.kind == "value":
            raise ValueError("no such kind")
        if self.kind == "exit":
            raise SystemExit(3)


MARKER = object()


class Typed(Plugin):
    @action
    async def shape(self, line: Line) -> int:
        return line.start.x + line.start.y + len(line.tags)

    @action
    async def record(self, named: Named, color: Color = Color.RED) -> str:
        return named.get("name", "") + color.value

    @action(safe=True)
    async def choose(self, how: Literal["a", "b"], level: Level = Level.LOW) -> str:
        return f"{how}{level.value}"

    @action(safe=True)
    async def when(self, at: dt.datetime, day: dt.date | None = None) -> str:
        return f"{at.isoformat()} {day}"

    @action(safe=True)
    async def bounded(self, n: Annotated[int, msgspec.Meta(ge=1, le=9)]) -> int:
        return n

    @action(safe=True)
    async def several(
        self,
        ids: list[int] = [],  # noqa: B006  what authors write
        names: set[str] | None = None,
        either: str | list[str] = "",
        pair: Annotated[tuple[int, int] | None, msgspec.Meta(description="two")] = None,
    ) -> list[Any]:
        return [ids, sorted(names) if names else None, either, pair]

    @action(safe=True)
    async def switch(self, on: bool, rate: float = 1.0, note: str | None = None) -> str:
        return f"{on} {rate} {note}"

    @action
    def grow(self, items: list[int] = [1], point: Point = Point(1), seen: Any = MARKER) -> list[Any]:  # noqa: B006, B008
        items.append(point.x)
        point.x += 1
        return [items, seen is MARKER]

    @action
    async def untyped(self, anything, thing: object = None) -> Any:
        return [anything, thing]

    @action
    async def hostile(self, hostile: Hostile) -> str:
        return hostile.kind

    @action
    async def raw(self, body: bytes, times: int = 1) -> bytes:
        return body * times

    @action
    async def maybe(self, body: bytes | None = None) -> bytes:
        assert body is not None
        return body

    @action
    async def short(self, body: Annotated[bytes, msgspec.Meta(max_length=3)]) -> bytes:
        return body

    @action
    async def keywords(self, *, type: str, cls: str = "c", Self: str = "s") -> str:  # noqa: A002, N803
        return type + cls + Self


@pytest.fixture
async def client():
    async with serve(Typed, name="typed") as client:
        yield client


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("shape", {"line": {"start": {"x": 1, "y": 2}, "tags": ["a"]}}, 4),
        ("record", {"named": {"name": "n"}, "color": "blue"}, "nblue"),
        ("record", {"named": {}}, "red"),
        ("choose", {"how": "b"}, "b1"),
        ("when", {"at": "2026-01-01T00:00:00Z", "day": "2026-02-03"}, "2026-01-01T00:00:00+00:00 2026-02-03"),
        ("several", {}, [[], None, "", None]),
        ("several", {"ids": [1], "either": ["x"], "pair": [1, 2]}, [[1], None, ["x"], [1, 2]]),
        ("untyped", {"anything": [None, {"a": 1}]}, [[None, {"a": 1}], None]),
        ("keywords", {"type": "t"}, "tcs"),
    ],
)
async def test_json_arguments_arrive_as_their_types(client, name, arguments, result):
    """Dataclasses, TypedDicts, Structs, enums, literals, dates and unions are what the action sees."""
    assert await client.call(name, **arguments) == (200, result)


@pytest.mark.parametrize(
    ("query", "result"),
    [
        ("ids=1&ids=2&names=b&names=a", [[1, 2], ["a", "b"], "", None]),
        ("ids=1&names=a&either=x", [[1], ["a"], "x", None]),
        ("either=x&either=y", [[], None, ["x", "y"], None]),
        ("pair=1&pair=2", [[], None, "", [1, 2]]),
        ("names=%C3%A9+%F0%9F%90%8D", [[], ["é 🐍"], "", None]),
    ],
)
async def test_query_parameters_repeat_for_lists(client, query, result):
    """One value of a list is a list of one; elsewhere one value is a value."""
    assert await client.request("GET", "several", query=query) == (200, result)


@pytest.mark.parametrize(
    ("query", "result"),
    [
        ("on=true", "True 1.0 None"),
        ("on=0&rate=2", "False 2.0 None"),
        ("on=1&note=", "True 1.0 "),
        ("on=True&rate=1e3&note=%22", 'True 1000.0 "'),
    ],
)
async def test_query_text_becomes_the_type(client, query, result):
    """true, false, 1 and 0 are booleans, digits are numbers, a blank is a text."""
    assert await client.request("GET", "switch", query=query) == (200, result)


async def test_a_query_of_other_types_is_read(client):
    """Literals, enums of numbers, dates and bounds work in a query too."""
    assert await client.get("choose", how="a", level=1) == (200, "a1")
    assert await client.get("bounded", n=9) == (200, 9)
    assert (await client.get("when", at="2026-01-01T00:00:00Z")).status == 200


@pytest.mark.parametrize(
    ("name", "query", "field"),
    [
        ("switch", "on=yes", "on"),
        ("switch", "", "on"),
        ("switch", "on=1&on=0", "on"),
        ("switch", "on=1&more=2", "more"),
        ("switch", "on", "on"),
        ("bounded", "n=10", "n"),
        ("bounded", "n=" + "9" * 5000, "n"),
        ("choose", "how=c", "how"),
        ("several", "ids=1&ids=x", "ids[1]"),
    ],
)
async def test_a_wrong_query_names_its_field(client, name, query, field):
    """422, with the parameter by itself and what is wrong with it."""
    status, body = await client.request("GET", name, query=query)

    assert (status, body["reason"], body["component"]) == (422, "InvalidArguments", "client")
    assert [error["field"] for error in body["errors"]] == [field]
    assert body["detail"].startswith(f"{field}: ")


@pytest.mark.parametrize("query", ["name=%ff", "on=\xe9", "&".join("a=1" for _ in range(300))])
async def test_an_unreadable_query_is_malformed(client, query):
    """Not UTF-8, not ASCII, too many fields: 400."""
    status, body = await client.request("GET", "switch", query=query)

    assert (status, body["reason"]) == (400, "MalformedRequest")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"null", ""),
        (b"[]", ""),
        (b"3", ""),
        (b"", "line"),
        (b"{}", "line"),
        (b'{"line": null}', "line"),
        (b'{"line": {"start": {}}}', "line.start.x"),
        (b'{"line": {"start": {"x": "1"}}}', "line.start.x"),
        (b'{"line": {"start": {"x": 1}, "tags": ["a", 1]}}', "line.tags[1]"),
        (b'{"line": {"start": {"x": 1%s}}}' % (b"0" * 5000), "line.start.x"),
        (b'{"line": {"start": {"x": 1e400}}}', "line.start.x"),
        (b'{"line": {"start": {"x": 1}}, "color": 1}', "color"),
    ],
)
async def test_wrong_json_names_its_field(client, body, field):
    """422 whatever does not fit, down to the element of a list."""
    status, answer = await client.request("POST", "shape", body=body)

    assert (status, answer["reason"]) == (422, "InvalidArguments")
    assert answer["errors"][0]["field"] == field
    assert answer["detail"].startswith(f"{field or 'arguments'}: ")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b'{"anything": "\xff"}',
        b'{"anything": "\\ud800"}',
        b'{"anything": NaN}',
        b'{"anything": Infinity}',
        b"\xef\xbb\xbf{}",
        b'{"anything": 1} 2',
        b'{"anything": ' + b"[" * 200_000,
        b'{"anything": ' + b'{"a":' * 200_000,
        b"{'anything': 1}",
    ],
)
async def test_what_is_no_json_is_malformed(client, body):
    """400 for broken text, wrong encodings, NaN and depth bombs; nothing of the host in the text."""
    status, answer = await client.request("POST", "untyped", body=body)

    assert (status, answer["reason"]) == (400, "MalformedRequest")
    assert answer["errors"] == []
    assert not any(word in answer["detail"] for word in ("Traceback", ".py", "/"))


async def test_a_mutable_default_is_never_shared(client):
    """One caller's arguments are not the next one's default, and a marker stays the very object."""
    for _ in range(2):
        assert await client.call("grow") == (200, [[1, 1], True])


async def test_types_may_refuse_a_value(client):
    """ValueError in `__post_init__` is the caller's mistake, anything else the plugin's, and only that request's."""
    assert (await client.call("hostile", hostile={"kind": "fine"})).status == 200
    status, body = await client.call("hostile", hostile={"kind": "value"})
    assert (status, body["errors"][0]["message"]) == (422, "no such kind")

    status, body = await client.call("hostile", hostile={"kind": "exit"})
    assert (status, body["reason"]) == (500, "ActionFailed")


async def test_bytes_are_the_raw_body(client):
    """Beside it the other parameters come from the query."""
    assert await client.call("raw", b"\xff\0", times=2) == (200, b"\xff\0\xff\0")
    assert await client.call("maybe", b"x") == (200, b"x")
    assert await client.call("short", b"abc") == (200, b"abc")
    assert (await client.call("short", b"abcd")).status == 422


async def test_schemas_say_what_is_taken(client):
    """Types, bounds, defaults and what is required; a default nobody can send is left out."""
    _, described = await client.request("GET", "")
    schemas = {one["name"]: one["arguments"] for one in described["actions"]}

    assert schemas["bounded"]["properties"]["n"] == {"type": "integer", "minimum": 1, "maximum": 9}
    assert schemas["bounded"]["required"] == ["n"]
    assert schemas["bounded"]["additionalProperties"] is False
    assert schemas["grow"]["properties"]["items"]["default"] == [1]
    assert schemas["grow"]["properties"]["point"]["default"] == {"x": 1, "y": 0}
    assert "default" not in schemas["grow"]["properties"]["seen"]
    assert set(schemas["shape"]["$defs"]) == {"Line", "Point"}
    assert {one["name"]: one["rawBody"] for one in described["actions"]}["raw"] is True
