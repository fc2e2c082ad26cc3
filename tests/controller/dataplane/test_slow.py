"""Clients that ask nothing, or never end to ask: nobody holds a connection for long without a request."""

import asyncio

import pytest

from controller.dataplane import ending, protocol
from tests.controller.dataplane.support import Front, request
from tests.support import until

SOON = 0.3
HEAD = b"POST /app/hello/greet HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


@pytest.fixture
async def front(monkeypatch):
    for module in (ending, protocol):
        monkeypatch.setattr(module, "HEAD_SECONDS", SOON)
    async with Front() as front:
        yield front


async def test_who_asks_nothing_is_hung_up_on(front):
    """Without a word: there is no request to answer."""
    client = await front.client()
    assert await client.rest() == b""


@pytest.mark.parametrize("begun", [b"POST ", b"GET /heal", HEAD, HEAD + b"1\r\n"])
async def test_a_head_that_does_not_end_is_told_so(front, begun):
    """408, and the connection ends, however much has come of the head; whoever drips it gains nothing."""
    client = await front.client()
    client.send(begun)
    dripping = asyncio.create_task(drip(client))
    answer = await client.answer()
    assert (answer.status, answer["xcore-reason"], answer["connection"]) == (408, "RequestTimeout", "close")
    assert await client.rest() == b""
    dripping.cancel()
    assert front.asgi == []


async def drip(client):
    """Send one byte after the other, none of which ends anything."""
    while True:
        client.send(b"x")
        await asyncio.sleep(SOON / 20)


async def test_between_requests_a_head_has_its_time_as_well(front):
    """On a kept connection, behind an answer of a plugin or of the control plane."""
    await front.upstream()
    for path in ("/app/hello/greet", "/api"):
        client = await front.client()
        for _ in range(3):
            assert (await client.ask(request("GET", path))).status == 200
        client.send(HEAD)
        assert (await client.answer()).status == 408
        client.leave()


async def test_a_request_under_way_is_none_of_its_business(front):
    """Neither a body that takes longer nor an answer that does; and the client may ask again."""
    upstream = await front.upstream(slowly)
    upstream.go = asyncio.Event()
    client = await front.client()
    client.send(HEAD + b"1\r\nContent-Length: 2\r\n\r\n")
    await asyncio.sleep(1.5 * SOON)
    client.send(b"ab")
    await until(lambda: upstream.journal)
    await asyncio.sleep(1.5 * SOON)
    upstream.go.set()
    assert (await client.answer()).status == 200
    assert (await client.ask(request())).status == 200
    client.leave()


async def slowly(visit, upstream):
    while True:
        upstream.journal.append(await visit.request())
        await upstream.go.wait()
        visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
