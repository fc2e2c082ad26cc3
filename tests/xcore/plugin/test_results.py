"""What an action gives: checked against its annotation, and never a broken answer."""

import asyncio
import contextlib
import datetime as dt
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
import pytest

from xcore.plugin import Plugin, Response, action
from xcore.plugin.results import BadResult, Results
from xcore.plugin.testing import serve


@dataclass
class Item:
    name: str
    at: dt.datetime | None = None


class Sub(str):
    __slots__ = ()


class Amount(int):
    pass


class Share(float):
    pass


class Png(Response):
    pass


async def _coroutine() -> int:
    return 1


async def _agen():
    yield 1


class Exploding(Mapping):
    def __getitem__(self, key):
        raise KeyError(key)

    def __iter__(self):
        raise SystemExit

    def __len__(self):
        return 1


@pytest.mark.parametrize(
    ("annotation", "result", "content"),
    [
        (str, "é", '"é"'.encode()),
        (str, Sub("s"), b'"s"'),
        (int, 2**70, b"1180591620717411303424"),
        (bool, True, b"true"),
        (None, None, b"null"),
        (
            Any,
            [Amount(1), Share(0.5), MappingProxyType({"a": deque([1])}), range(2)],
            b'[1,0.5,{"a":[1]},[0,1]]',
        ),
        (float, 3, b"3"),
        (float, 1.5, b"1.5"),
        (int | None, None, b"null"),
        (list[int], [1], b"[1]"),
        (Item, Item("a"), b'{"name":"a","at":null}'),
        (Item | Response, Item("a"), b'{"name":"a","at":null}'),
        (Item | bytes, b"raw", b"raw"),
        (bytes, bytearray(b"x"), b"x"),
        (bytes, memoryview(b"x"), b"x"),
        (bytes | None, None, b"null"),
        (Any, b"raw", b"raw"),
        (Any, {"a": [1]}, b'{"a":[1]}'),
        (Any, float("nan"), b"null"),
        (Annotated[int, msgspec.Meta(ge=0)], 3, b"3"),
        (dict[int, str], {1: "a"}, b'{"1":"a"}'),
        (Response, Response("r"), b"r"),
        (str, Response("r"), b"r"),
        (Png, Png(b"p"), b"p"),
    ],
)
def test_a_fitting_result_is_the_answer(annotation, result, content):
    """JSON for values, the body itself for bytes, and a Response always."""
    assert Results(annotation).answer(result).content == content


@pytest.mark.parametrize(
    ("annotation", "result"),
    [
        (str, 1),
        (str, b"bytes"),
        (str, None),
        (int, "1"),
        (int, True),
        (bytes, "text"),
        (bytes, None),
        (Response, "text"),
        (None, 0),
        (float, float("nan")),
        (list[int], ["a"]),
        (Item, {"name": 1}),
        (Item | Response, 3),
        (Annotated[int, msgspec.Meta(ge=0)], -1),
        (Annotated[int, msgspec.Meta(ge=0)] | None, -1),
    ],
)
def test_another_type_than_promised_is_the_plugins_failure(annotation, result):
    """Clients rely on the schema, so what does not fit it is not sent."""
    with pytest.raises(BadResult, match="returned what its annotation does not allow"):
        Results(annotation).answer(result)


@pytest.mark.parametrize(
    "result",
    ["\ud800", object(), [10**5000], {(1, 2): 3}, {1, object()}, [object()], Response("\ud800")],
    ids=range(7),
)
def test_what_json_cannot_hold_is_the_plugins_failure(result):
    """Lone surrogates, objects, numbers without end."""
    with pytest.raises(BadResult, match="returned what cannot be sent"):
        Results(Any).answer(result)


def test_a_cycle_is_the_plugins_failure():
    """It ends, as an error."""
    cycle: list[Any] = []
    cycle.append(cycle)

    with pytest.raises(BadResult):
        Results(Any).answer(cycle)


def test_a_forgotten_await_is_told():
    """The coroutine is closed, so that nothing warns later in somebody else's name."""
    with pytest.raises(BadResult, match="is an `await` missing"):
        Results(Any).answer(_coroutine())


@pytest.mark.parametrize("make", [lambda: (i for i in ()), _agen])
def test_a_generator_is_told(make):
    """A generator is no result; the action itself may be one."""
    with pytest.raises(BadResult, match="to stream, yield in the action itself"):
        Results(Any).answer(make())


def test_results_without_a_check_have_no_schema():
    """Nothing is promised where nothing is checked."""
    assert Results(Any).schema() is None
    assert Results(Response | bytes).schema() is None
    assert Results(Item | Response).schema()["$defs"].keys() == {"Item"}


BROKEN = [
    Response(headers={"x-a": "a\r\nset-cookie: b"}),
    Response(headers={"x-a": "a\nb"}),
    Response(headers={"x-a": "a\0b"}),
    Response(headers={"x-a": "\u20ac"}),
    Response(headers={"x-a": " padded "}),
    Response(headers={"x-a": 1}),  # type: ignore[dict-item]
    Response(headers={"x a": "b"}),
    Response(headers={"": "b"}),
    Response(headers={"x\r\ny": "b"}),
    Response(headers={1: "b"}),  # type: ignore[dict-item]
    Response(headers=Exploding()),
    Response(headers=["a"]),  # type: ignore[arg-type]
    Response(headers={"Content-Length": "5"}),
    Response(headers={"transfer-encoding": "chunked"}),
    Response(headers={"Connection": "close"}),
    Response(headers={"content-type": "text/html"}),
    Response(media_type="text/html\r\nx-a: b"),
    Response(media_type=None),  # type: ignore[arg-type]
    Response(status=199),
    Response(status=600),
    Response(status=0),
    Response(status=True),
    Response(status="200"),  # type: ignore[arg-type]
    Response(status=None),  # type: ignore[arg-type]
    Response({"a": 1}),  # type: ignore[arg-type]
    Response(3),  # type: ignore[arg-type]
    Response(b"x", status=204),
    Response(b"x", status=304),
]


class Answers(Plugin):
    @action
    async def broken(self, which: int) -> Response:
        return BROKEN[which]

    @action
    async def exploding(self) -> Any:
        return [Exploding()]

    @action
    async def given(self) -> Response:
        return Response("né", "text/plain; charset=utf-8", 201, {"X-A": "é", "X-Empty": "", "X-B": "a\tb c"})

    @action
    async def empty(self) -> Response:
        return Response(None, status=204)

    @action
    async def teapot(self) -> Response:
        return Response(bytearray(b"x"), status=418)  # type: ignore[arg-type]


@pytest.mark.parametrize("which", range(len(BROKEN)))
async def test_a_response_that_breaks_the_channel_is_refused(which, caplog):
    """Line breaks, framing headers, impossible statuses: ActionFailed, and the log says which."""
    async with serve(Answers) as client:
        status, body = await client.call("broken", which=which)

    assert (status, body["reason"], body["component"]) == (500, "ActionFailed", "plugin")
    assert "content-length" in client.headers
    assert "Traceback" not in body["detail"]
    assert caplog.records[-1].levelname == "ERROR"


async def test_a_good_response_is_sent_as_it_is():
    """Status, headers, media type and content, with the right length."""
    async with serve(Answers) as client:
        assert await client.call("given") == (201, "né".encode())
        assert client.headers == {
            "x-a": "é",
            "x-empty": "",
            "x-b": "a\tb c",
            "content-type": "text/plain; charset=utf-8",
            "content-length": "3",
        }
        assert await client.call("teapot") == (418, b"x")


async def test_an_answer_without_content_has_no_length():
    """RFC 9110, 8.6: a 204 carries neither content nor its length."""
    async with serve(Answers) as client:
        assert await client.call("empty") == (204, b"")
        assert client.headers == {}


async def test_a_result_that_explodes_while_it_is_read_is_one_requests_answer():
    """Encoding runs code of the plugin's own; it is behind the same wall."""
    async with serve(Answers) as client:
        assert (await client.call("exploding")).status == 500
        with contextlib.suppress(asyncio.CancelledError):
            assert (await client.call("empty")).status == 204
