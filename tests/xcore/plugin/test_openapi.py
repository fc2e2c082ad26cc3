"""What a plugin says of itself in OpenAPI 3.1: valid by a checker, and true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from tests.applications.fastapi import main as fastapi_app
from xcore.plugin import Plugin, Response, action, application
from xcore.plugin.testing import serve


@dataclass
class Point:
    """A place."""

    x: int
    next: Point | None = None


class Sample(Plugin):
    @action(safe=True)
    async def move(self, point: Point, by: int = 1, tags: list[str] = []) -> Point:  # noqa: B006
        """Move a point.

        By so much.
        """
        return Point(point.x + by)

    @action
    def resize(self, picture: bytes, width: int) -> bytes:
        return picture[:width]

    @action(name="to-page")
    async def page(self) -> Response | Point:
        return Response()

    @action
    async def follow(self) -> AsyncIterator[Point]:
        yield Point(1)

    @action
    async def download(self) -> AsyncIterator[bytes]:
        yield b""

    @action
    async def anything(self, it: Any = None) -> Any:
        return it


@pytest.fixture
async def document():
    async with serve(Sample, name="sample", version="1.2.0") as client:
        answer = await client.get("openapi.json")
        assert answer.status == 200
        assert await client.fetch("/openapi") == answer
        return answer.body


async def test_the_document_is_valid(document):
    """By the checker, schemas of recursive types, unions and raw bodies included."""
    validate(document, cls=OpenAPIV31SpecValidator)
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "sample", "version": "1.2.0"}
    assert document["servers"] == [{"url": "/app/sample"}]


async def test_an_action_is_described_as_it_is_called(document):
    """Its docstring, its arguments in body or query, its result, its failures."""
    move = document["paths"]["/move"]
    assert set(move) == {"get", "post"}
    assert (move["post"]["summary"], move["post"]["description"]) == (
        "Move a point.",
        "Move a point.\n\nBy so much.",
    )
    assert [(p["name"], p["required"]) for p in move["get"]["parameters"]] == [
        ("point", True),
        ("by", False),
        ("tags", False),
    ]
    body = move["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["point"] == {"$ref": "#/components/schemas/move.Point"}
    answer = move["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/move.result.Point"}
    assert move["post"]["responses"]["422"] == {"$ref": "#/components/responses/Problem"}
    resize = document["paths"]["/resize"]["post"]
    assert [p["name"] for p in resize["parameters"]] == ["width"]
    assert list(resize["requestBody"]["content"]) == ["application/octet-stream"]


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("resize", {"application/octet-stream"}),
        ("to-page", {"application/json", "*/*"}),
        ("follow", {"application/x-ndjson", "text/event-stream"}),
        ("download", {"application/octet-stream"}),
        ("anything", {"application/json", "application/octet-stream", "*/*"}),
    ],
)
async def test_an_answer_is_described_by_its_media(document, name, media):
    """JSON, bytes, a stream, or anything."""
    assert set(document["paths"][f"/{name}"]["post"]["responses"]["200"]["content"]) == media


async def test_the_document_is_no_action():
    """POST is not allowed; of an action the name is impossible."""

    class Colliding(Plugin):
        @action(name="openapi.json")
        async def x(self) -> None: ...

    async with serve(Sample) as client:
        assert (await client.call("openapi.json")).status == 405
    with pytest.raises(TypeError, match="a name matches"):
        await serve(Colliding).__aenter__()


async def test_an_applications_document_is_its_own():
    """What it serves at its `/openapi.json`, asked for behind its prefix."""
    async with serve(fastapi_app.app, name="sample") as client:
        own = await client.get("openapi.json")
        assert await client.fetch("/openapi") == own
    assert own.body["servers"] == [{"url": "/app/sample"}]


async def _refuses(send):
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def _floods(send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b" " * 2**16, "more_body": True})


async def _half(send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{", "more_body": True})


async def _never(send):
    await asyncio.Event().wait()


async def _raises(send):
    raise SystemExit


@pytest.mark.parametrize("behave", [_refuses, _floods, _half, _never, _raises])
async def test_an_application_without_a_whole_document_has_none(behave, monkeypatch):
    """Refused, without end, broken off, never answered: the host says so, soon and within bounds."""
    monkeypatch.setattr(application, "DOCUMENT_SECONDS", 0.05)

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await behave(send)

    async with serve(app) as client:
        assert await client.fetch("/openapi") == (404, b"no document\n")
