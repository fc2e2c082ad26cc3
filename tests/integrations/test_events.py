"""`/api/v1/events`: pages, filters, versions of a page, and the stream that is taken up where it was left."""

import asyncio
import contextlib
import hashlib
import json

import httpx
import pytest
from fastapi import FastAPI

from controller.api import errors
from integrations.admin import access, events
from integrations.background import Background
from integrations.gate import Gate
from integrations.grants import Grant, Role
from integrations.journal import Journal
from xcore.errors import DatabaseUnavailable, PluginNotFound
from xcore.xhooks import HookBus, PluginRefused, PluginRemoved

SECONDS = 20


class Engine:
    def names(self):
        return ["here"]

    def get(self, name):
        raise PluginNotFound(f"there is no plugin {name!r}")


class Desk:
    """The routes, and a journal in which five things happened."""

    def __init__(self, database):
        self.bus = HookBus()
        self.app = FastAPI()
        self.app.include_router(events.router)
        errors.install(self.app)
        self.state = self.app.state
        self.state.database = database
        self.state.journal = Journal(self.bus, database, leads=lambda: True)
        self.state.manager, self.state.gate, self.state.background = Engine(), None, Background()

    async def happened(self, count):
        async with asyncio.timeout(SECONDS):
            while not await self.has(count):
                await asyncio.sleep(0.01)

    async def has(self, count):
        with contextlib.suppress(DatabaseUnavailable):  # on a busy machine
            return await self.state.journal.newest() >= count
        return False

    async def get(self, path="/api/v1/events", headers=None, **params):
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, params=params, headers=headers)


@pytest.fixture
async def desk(database):
    made = Desk(database)
    running = asyncio.create_task(made.state.journal.run())
    await asyncio.sleep(0)
    for number in range(1, 5):
        made.bus.emit(PluginRemoved(plugin="gone" if number % 2 else "here", before=None, at=100.0 * number))
    made.bus.emit(PluginRefused(plugin="here", reason="InvalidSpec", detail="d", at=500.0))
    await made.happened(5)
    yield made
    made.state.journal.end()
    async with asyncio.timeout(SECONDS):
        await running


def ids(answer):
    return [item["id"] for item in answer.json()["items"]]


async def test_pages_lead_to_the_oldest(desk):
    first = await desk.get(limit=2)
    assert ids(first) == [5, 4]
    second = await desk.get(limit=2, **{"continue": first.json()["metadata"]["continue"]})
    assert ids(second) == [3, 2]
    last = await desk.get(limit=2, **{"continue": second.json()["metadata"]["continue"]})
    assert (ids(last), last.json()["metadata"]["continue"]) == ([1], "")


async def test_filters(desk):
    assert ids(await desk.get(plugin="gone")) == [3, 1]
    assert ids(await desk.get(kind="PluginRefused")) == [5]
    assert ids(await desk.get(since="1970-01-01T00:05:00Z")) == [5, 4, 3]
    assert ids(await desk.get("/api/v1/plugins/here/events", kind="PluginRemoved")) == [4, 2]


async def test_a_key_for_some_plugins_shows_what_happened_to_those_alone(desk):
    digest = hashlib.sha256(b"key").digest()
    desk.state.gate = Gate(Grant("k", Role.VIEWER, digest=digest, plugins=frozenset({"here"})))
    headers = {"Authorization": "Bearer key"}
    assert ids(await desk.get(headers=headers)) == [5, 4, 2]
    assert ids(await desk.get(headers=headers, plugin="gone")) == []
    assert (await desk.get("/api/v1/plugins/gone/events", headers=headers)).status_code == 403


async def test_a_plugin_that_is_no_more_has_its_history_and_one_that_never_was_is_not_found(desk):
    assert ids(await desk.get("/api/v1/plugins/gone/events")) == [3, 1]
    assert ids(await desk.get("/api/v1/plugins/gone/events", kind="PluginRefused")) == []
    unknown = await desk.get("/api/v1/plugins/never/events")
    assert (unknown.status_code, unknown.json()["reason"]) == (404, "PluginNotFound")


async def test_a_page_that_is_as_it_was_is_not_sent_again(desk):
    tag = (await desk.get(limit=2)).headers["etag"]
    same = await desk.get(limit=2, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    desk.bus.emit(PluginRemoved(plugin="new", before=None))
    await desk.happened(6)
    assert ids(await desk.get(limit=2, headers={"If-None-Match": tag})) == [6, 5]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 10**9}, "limit"),
        ({"continue": "x"}, "continue"),
        ({"continue": "-1"}, "continue"),
        ({"continue": str(10**30)}, "continue"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-01-01T00:00:00"}, "since"),
        ({"kind": "StatusChange"}, "kind"),
        ({"plugin": "x" * 321}, "plugin"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused_by_its_name(desk, params, field):
    answer = await desk.get(**params)
    assert (answer.status_code, answer.json()["reason"]) == (422, "InvalidArguments")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 19, "9" * 5000, "²", ""])
async def test_an_id_that_is_none_is_refused(desk, last):
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last.encode()}
    answer = await desk.get(headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (400, "MalformedRequest")


@contextlib.asynccontextmanager
async def stream(desk, **headers):
    """The route's own answer, read as a server would."""
    scope_headers = {"Accept": "text/event-stream", **headers}
    pieces: asyncio.Queue[str] = asyncio.Queue()
    gone = asyncio.Event()

    async def receive():
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.body" and message["body"]:
            pieces.put_nowait(message["body"].decode())

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/v1/events",
        "raw_path": b"/api/v1/events",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in scope_headers.items()],
    }
    serving = asyncio.create_task(desk.app(scope, receive, send))

    async def next_piece():
        async with asyncio.timeout(SECONDS):
            return await pieces.get()

    next_piece.serving = serving
    try:
        assert await next_piece() == ": following\n\n"
        yield next_piece
    finally:
        gone.set()
        async with asyncio.timeout(SECONDS):
            await serving


async def test_a_stream_is_taken_up_where_it_was_left(desk):
    async with stream(desk, **{"Last-Event-ID": "4"}) as next_piece:
        missed = await next_piece()
        assert missed.startswith("id: 5\nevent: PluginRefused\ndata: {")
        assert json.loads(missed.split("data: ")[1])["detail"] == "d"
        desk.bus.emit(PluginRemoved(plugin="new", before=None))
        assert (await next_piece()).startswith("id: 6\nevent: PluginRemoved\n")
    assert desk.state.journal.followers == 0


@pytest.mark.parametrize("headers", [{}, {"Last-Event-ID": "1000"}])
async def test_a_stream_without_an_id_or_with_one_of_the_future_begins_now(desk, headers):
    async with stream(desk, **headers) as next_piece:
        desk.bus.emit(PluginRemoved(plugin="new", before=None))
        assert (await next_piece()).startswith("id: 6\n")


async def test_streams_end_with_the_controller(desk):
    async with stream(desk) as next_piece:
        await desk.state.background.stop(5)
        await asyncio.wait({next_piece.serving}, timeout=SECONDS)
        assert next_piece.serving.done()


async def test_streams_end_with_the_key_that_they_were_asked_for_with(desk):
    gate = desk.state.gate = Gate()
    gate.listen(desk.state.background.cut)
    gate.replace([Grant("k", Role.VIEWER, digest=hashlib.sha256(b"key").digest())])
    async with stream(desk, Authorization="Bearer key") as next_piece:
        gate.replace([])
        await asyncio.wait({next_piece.serving}, timeout=SECONDS)
        assert next_piece.serving.done()


async def test_no_more_than_so_many_may_follow(desk, monkeypatch):
    monkeypatch.setattr(access, "MAX_STREAMS", 1)
    async with stream(desk):
        answer = await desk.get(headers={"Accept": "text/event-stream"})
        assert (answer.status_code, answer.json()["reason"]) == (429, "RateLimited")
