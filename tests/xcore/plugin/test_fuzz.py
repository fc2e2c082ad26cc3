"""Hypothesis: whatever is sent, a typed action answers 200 or names the caller's mistake."""

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from xcore.plugin import Plugin, Response, action
from xcore.plugin.testing import serve


@dataclass
class Tree:
    value: int | str | None = None
    kind: Literal["leaf", "node"] = "leaf"
    at: dt.datetime | None = None
    children: list["Tree"] = field(default_factory=list)


class Echo(Plugin):
    @action(safe=True)
    async def scalar(
        self, n: int = 0, x: float = 0.0, s: str = "", b: bool = False, many: list[str] | None = None
    ) -> list[Any]:
        return [n, x, s, b, many]

    @action
    async def tree(self, tree: Tree) -> Tree:
        return tree

    @action
    async def anything(self, anything: Any = None) -> Any:
        return anything

    @action
    async def respond(self, status: int, media_type: str, headers: dict[str, str]) -> Response:
        return Response(b"", media_type, status, headers)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
TREES = st.deferred(
    lambda: st.fixed_dictionaries(
        {},
        optional={
            "value": st.integers() | st.text(),
            "kind": st.sampled_from(["leaf", "node"]) | JSON,
            "children": st.lists(TREES, max_size=3) | JSON,
        },
    )
)
relaxed = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
async def client():
    async with serve(Echo, name="echo") as client:
        yield client


def told(reply) -> None:
    """An answer, or the caller's mistake with its reason and, when it did not fit, its field."""
    status, body = reply
    assert status in {200, 400, 422}
    if status != 200:
        assert body["reason"] == {400: "MalformedRequest", 422: "InvalidArguments"}[status]
        assert body["component"] == "client"
        assert all(error.keys() == {"field", "message"} for error in body["errors"])
        assert "Traceback" not in body["detail"]


@relaxed
@given(body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
async def test_arbitrary_bodies_are_answered(client, body):
    """Bytes or JSON of any shape: 200, 400 or 422, for each action."""
    for name in ("scalar", "tree", "anything"):
        told(await client.request("POST", name, body=body))


@relaxed
@given(tree=TREES)
async def test_almost_right_trees_are_answered(client, tree):
    """Near misses of a recursive type name their field."""
    told(await client.call("tree", tree=tree))


@relaxed
@given(query=st.text(st.characters(max_codepoint=255), max_size=60))
async def test_arbitrary_queries_are_answered(client, query):
    """Whatever stands behind the question mark."""
    told(await client.request("GET", "scalar", query=query))


@relaxed
@given(
    n=st.integers(-(2**60), 2**60),
    x=st.floats(allow_nan=False, allow_infinity=False),
    s=st.text(),
    b=st.booleans(),
    many=st.lists(st.text(), min_size=1, max_size=5),
)
async def test_get_and_post_agree(client, n, x, s, b, many):
    """The same arguments mean the same in a query and in JSON."""
    arguments = {"n": n, "x": x, "s": s, "b": b, "many": many}

    assert await client.get("scalar", **arguments) == await client.call("scalar", **arguments)


@relaxed
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "BREW"]),
    path=st.text(max_size=20),
    body=st.binary(max_size=20),
    headers=st.dictionaries(
        st.sampled_from(["xcore-deadline-seconds", "x-request-id", "content-type"]),
        st.text(st.characters(max_codepoint=255), max_size=10),
    ),
)
async def test_arbitrary_requests_never_crash_the_host(client, method, path, body, headers):
    """Any path of the host, any headers: an answer below 500, and a probe that still says ok."""
    reply = await client.fetch(path, method, body=body, headers=headers)
    assert reply.status < 500
    reply = await client.request(method, path, body=body, headers=headers)
    assert reply.status < 500
    assert (await client.fetch("/ready")).status == 200


@relaxed
@given(
    status=st.integers(100, 700),
    media_type=st.sampled_from(["text/plain", "image/png"]) | st.text(max_size=10),
    headers=st.dictionaries(st.sampled_from(["x-a", "x-b"]) | st.text(max_size=5), st.text(max_size=10)),
)
async def test_no_response_injects_a_header(client, status, media_type, headers):
    """What reaches the wire is clean, or it is ActionFailed."""
    reply = await client.call("respond", status=status, media_type=media_type, headers=headers)

    if reply.status != status:
        assert (reply.status, reply.body["reason"]) == (500, "ActionFailed")
    for name, value in client.headers.items():
        assert name == name.lower()
        assert not set("\r\n\0") & set(name + value)
