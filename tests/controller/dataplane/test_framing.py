"""Whatever way a request or an answer is framed, what arrives is what was sent."""

import asyncio

import pytest

from tests.controller.dataplane.support import canned, ok, request
from tests.support import until


async def echo(visit, upstream):
    while True:
        seen = await visit.request()
        upstream.journal.append(seen)
        visit.send(ok(seen.body))


async def test_a_get_is_answered_and_both_connections_are_kept(front):
    """Requests one after the other share one connection on each side."""
    upstream = await front.upstream()
    client = await front.client()
    for _ in range(3):
        answer = await client.ask(request())
        assert (answer.status, answer.body) == (200, b"ok")
        assert not answer.all("connection")
    assert [seen.start for seen in upstream.journal] == ["GET /app/hello/greet HTTP/1.1"] * 3
    assert len(upstream.visits) == 1


@pytest.mark.parametrize("how", ["length", "chunked", "pieces"])
async def test_a_body_arrives_as_it_was_sent(front, how):
    """A body is handed on whole, with a length or in chunks, however it is cut up on the wire."""
    upstream = await front.upstream(echo)
    client = await front.client()
    body = bytes(range(256)) * 40
    for _ in range(2):
        if how == "chunked":
            client.send(request("POST", body=None, chunked=[body[:1], body[1:5000], body[5000:]]))
        elif how == "length":
            client.send(request("POST", body=body))
        else:
            whole = request("POST", chunked=[body[:100], body[100:]])
            for start in range(0, len(whole), 97):
                client.send(whole[start : start + 97])
                await asyncio.sleep(0)
        answer = await client.answer()
        assert answer.body == body
    assert upstream.journal[0].all("transfer-encoding") == ([] if how == "length" else ["chunked"])
    assert len(upstream.visits) == 1


async def test_an_empty_body_keeps_its_length(front):
    """`Content-Length: 0` is handed on: some plugins demand it of a POST."""
    upstream = await front.upstream(echo)
    assert (await front.ask(request("POST", body=b""))).status == 200
    assert upstream.journal[0]["content-length"] == "0"


async def test_a_chunked_answer_comes_in_chunks_and_its_connection_is_reused(front):
    """A streamed answer is passed on as it comes."""
    data = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nx-trailer: 1\r\n\r\n"
    upstream = await front.upstream(canned(data))
    client = await front.client()
    for _ in range(2):
        answer = await client.ask(request())
        assert (answer.body, answer["transfer-encoding"]) == (b"abcde", "chunked")
        assert not answer.all("x-trailer")
    assert len(upstream.visits) == 1


async def test_the_beginning_of_a_stream_does_not_wait_for_its_end(front):
    """What a plugin has sent is with the client before the plugin sends more."""
    go = asyncio.Event()

    async def script(visit, upstream):
        await visit.request()
        visit.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await go.wait()
        visit.send(b"4\r\nlast\r\n0\r\n\r\n")
        await visit.request()

    await front.upstream(script)
    client = await front.client()
    client.send(request())
    assert b"first" in await client.reader.readuntil(b"first\r\n")
    go.set()
    assert await client.reader.readuntil(b"0\r\n\r\n") == b"4\r\nlast\r\n0\r\n\r\n"


async def test_an_answer_that_ends_with_its_connection_is_framed_for_the_client(front):
    """An answer delimited by closing arrives whole, and the client's connection is kept."""
    upstream = await front.upstream(canned(b"HTTP/1.1 200 OK\r\n\r\nto the end", then_close=True))
    client = await front.client()
    for _ in range(2):
        answer = await client.ask(request())
        assert (answer.body, answer["transfer-encoding"]) == (b"to the end", "chunked")
    assert len(upstream.visits) == 2


async def test_an_http_1_0_answer_is_understood(front):
    """An old server's answer is read to its end."""
    await front.upstream(canned(b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold", then_close=True))
    client = await front.client()
    assert [(await client.ask(request())).body for _ in range(2)] == [b"old", b"old"]


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_body_have_none(front, status):
    """204 and 304 end with their head, and the connection goes on."""
    upstream = await front.upstream(canned(b"HTTP/1.1 %d X\r\netag: 1\r\n\r\n" % status))
    client = await front.client()
    for _ in range(2):
        answer = await client.ask(request())
        assert (answer.status, answer.all("content-length"), answer.all("transfer-encoding")) == (
            status,
            [],
            [],
        )
    assert len(upstream.visits) == 1


@pytest.mark.parametrize("framing", [b"content-length: 1000\r\n", b"transfer-encoding: chunked\r\n", b""])
async def test_an_answer_to_head_has_no_body_whatever_its_length_says(front, framing):
    """HEAD tells the length and sends nothing; what follows is the next answer."""
    upstream = await front.upstream(canned(b"HTTP/1.1 200 OK\r\n%b\r\n" % framing))
    client = await front.client()
    for _ in range(2):
        answer = await client.ask(request("HEAD"), head=True)
        assert answer.status == 200
        assert answer.all("content-length") == (["1000"] if b"1000" in framing else [])
    assert len(upstream.visits) == (2 if framing == b"" else 1)


async def test_head_then_get_on_one_connection(front):
    """After HEAD the plugin's connection serves a GET."""

    async def script(visit, upstream):
        while True:
            seen = await visit.request()
            visit.send(ok(b"four")[: -4 if seen.start.startswith("HEAD") else None])

    upstream = await front.upstream(script)
    client = await front.client()
    for _ in range(2):
        assert (await client.ask(request("HEAD"), head=True))["content-length"] == "4"
        assert (await client.ask(request())).body == b"four"
    assert len(upstream.visits) == 1


async def test_a_body_sent_to_head_is_cut_off(front):
    """A plugin that sends a body after HEAD harms nobody: the next request gets a fresh connection."""
    upstream = await front.upstream(canned(ok(b"body")))
    client = await front.client()
    assert (await client.ask(request("HEAD"), head=True)).status == 200
    assert (await client.ask(request())).body == b"body"
    assert len(upstream.visits) == 2


async def test_interim_answers_are_dropped(front):
    """Clients see final answers alone."""
    await front.upstream(
        canned(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok())
    )
    client = await front.client()
    for _ in range(2):
        answer = await client.ask(request())
        assert (answer.status, answer.interim, answer.all("link")) == (200, [], [])


@pytest.mark.parametrize("kept", [False, True])
async def test_http_1_0_clients_are_served(front, kept):
    """An HTTP/1.0 client needs no Host, gets no chunks, and keeps its connection only if it asks to."""
    await front.upstream(canned(ok()))
    client = await front.client()
    head = b"GET /app/hello/greet HTTP/1.0\r\n" + (b"Connection: keep-alive\r\n" if kept else b"") + b"\r\n"
    answer = await client.ask(head)
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer["connection"] == ("keep-alive" if kept else "close")
    if kept:
        assert (await client.ask(head)).status == 200
    else:
        assert await client.rest() == b""


async def test_an_http_1_0_client_reads_a_stream_to_the_end_of_the_connection(front):
    """Where chunks are not understood, closing ends the body."""
    await front.upstream(
        canned(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    )
    answer = await front.ask(b"GET /app/hello/greet HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (answer.body, answer["connection"], answer.all("transfer-encoding")) == (b"abc", "close", [])


async def test_connection_close_is_honoured(front):
    """A client that asks for it gets its connection closed, the plugin's is kept."""
    upstream = await front.upstream()
    for _ in range(2):
        client = await front.client()
        answer = await client.ask(request("GET", "/app/hello/greet", "Connection: close"))
        assert answer["connection"] == "close"
        assert await client.rest() == b""
    assert len(upstream.visits) == 1


async def test_a_client_that_waits_for_100_continue_is_invited(front):
    """`Expect: 100-continue` is answered by us, once the request may go on."""
    upstream = await front.upstream(echo)
    client = await front.client()
    client.send(request("POST", "/app/hello/greet", "Expect: 100-continue", "Content-Length: 4"))
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    answer = await client.ask(b"body")
    assert (answer.status, answer.body) == (200, b"body")
    assert not upstream.journal[0].all("expect")


async def test_a_refused_client_is_not_invited(locked):
    """Nobody is asked for a body that will not be read."""
    await locked.upstream(echo)
    client = await locked.client()
    answer = await client.ask(
        request("POST", "/app/hello/greet", "Expect: 100-continue", "Content-Length: 4")
    )
    assert (answer.status, answer.interim) == (401, [])
    assert answer["connection"] == "close"


async def test_a_waiting_client_is_not_invited_before_there_is_an_instance(front):
    """A held request's body stays with its client until it can be sent on."""
    front.put(None, hold=True)
    client = await front.client()
    client.send(request("POST", "/app/hello/greet", "Expect: 100-continue", "Content-Length: 4"))
    await until(lambda: front.plane.ways["hello"].held)
    assert not client.reader._buffer
    upstream = await front.upstream(echo, put=False)
    front.put(upstream.endpoint)
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await client.ask(b"body")).body == b"body"


async def test_an_early_answer_reaches_a_client_that_is_still_sending(front):
    """A plugin may answer before it has read the body: the client gets that answer, whole."""

    async def script(visit, upstream):
        await visit.reader.readuntil(b"\r\n\r\n")
        visit.send(ok(b"no thanks", status=b"409 Conflict"))
        await visit.reader.read()

    upstream = await front.upstream(script)
    client = await front.client()
    client.send(request("POST", "/app/hello/greet", "Content-Length: 9000000"))
    client.send(b"x" * 1_000_000)
    answer = await client.answer()
    assert (answer.status, answer.body, answer["connection"]) == (409, b"no thanks", "close")
    client.send(b"x" * 1_000_000)
    assert await client.rest() == b""
    await until(lambda: upstream.open == 0, what="the plugin's connection to be dropped")


async def test_8_mb_go_through_both_ways(front):
    """Large bodies pass unchanged."""
    await front.upstream(echo)
    client = await front.client()
    body = bytes(range(256)) * (8 * 2**20 // 256)
    client.send(request("POST", body=body))
    assert (await client.answer()).body == body
    client.send(request("POST", chunked=[body]))
    assert (await client.answer()).body == body
