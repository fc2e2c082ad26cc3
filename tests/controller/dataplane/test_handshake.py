"""The WebSocket handshake on the wire: every offer that is not one, and every answer that is not to it."""

import base64
import hashlib
import json

import pytest

from controller.dataplane.handshake import check_origin
from controller.dataplane.request import Refusal, Request
from tests.controller.dataplane.support import canned, ok, request

NONCE = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
GOOD = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": NONCE,
}


def offer(method="GET", target="/app/hello/live", *, version="1.1", body=None, **fields):
    """A good offer but for these fields; None leaves one out."""
    merged = {**GOOD, **{name.replace("_", "-"): value for name, value in fields.items()}}
    lines = [f"{name}: {value}" for name, value in merged.items() if value is not None]
    return request(method, target, *lines, version=version, body=body)


def agreement(*more, accept=ACCEPT, status="101 Switching Protocols", upgrade="websocket"):
    fields = [f"Upgrade: {upgrade}", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}", *more]
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (offer(version="1.0"), "needs HTTP/1.1"),
        (offer("POST"), "asked for with GET"),
        (offer("GET", body=b"x"), "body"),
        (offer(Connection=None), "Connection: Upgrade"),
        (offer(Connection="keep-alive"), "Connection: Upgrade"),
        (offer(Sec_WebSocket_Key=None), "16 bytes in base64"),
        (offer(Sec_WebSocket_Key="short"), "16 bytes in base64"),
        (offer(Sec_WebSocket_Key="AAAA"), "16 bytes in base64"),
        (offer(Sec_WebSocket_Key=f"{NONCE}\r\nSec-WebSocket-Key: {NONCE}"), "16 bytes in base64"),
        (offer(Sec_WebSocket_Protocol=""), "names"),
        (offer(Sec_WebSocket_Protocol="a,,b"), "names"),
        (offer(Sec_WebSocket_Protocol="a b"), "names"),
        (offer(Sec_WebSocket_Protocol="a, a"), "names"),
        (offer(Sec_WebSocket_Protocol="xcore.bearer.k"), "another subprotocol beside it"),
        (offer(Sec_WebSocket_Protocol="xcore.bearer.k, xcore.bearer.l, a"), "one xcore.bearer"),
    ],
)
async def test_what_is_no_handshake_is_told_why(front, data, says):
    """Each mistake has its sentence, and nothing of it reaches the plugin."""
    upstream = await front.upstream()
    client = await front.client()
    answer = await client.ask(data)
    assert (answer.status, answer["xcore-reason"]) == (400, "MalformedRequest")
    assert says in json.loads(answer.body)["detail"]
    assert await client.rest() == b""
    assert not upstream.journal


@pytest.mark.parametrize("version", ["8", "14", "13, 8", "", None])
async def test_another_version_is_426_with_the_one_there_is(front, version):
    """The client learns which version to come back with (RFC 6455 section 4.4)."""
    await front.upstream()
    answer = await front.ask(offer(Sec_WebSocket_Version=version))
    assert (answer.status, answer["xcore-reason"]) == (426, "UpgradeRequired")
    assert (answer["sec-websocket-version"], answer["upgrade"]) == ("13", "websocket")


async def test_only_what_belongs_to_the_handshake_is_sent_to_the_plugin(front):
    """The plugin reads an offer of our making: no extensions, no key among the subprotocols."""
    upstream = await front.upstream(canned(agreement()))
    protocols = "a, xcore.bearer.k, xcore, b"
    client = await front.client()
    client.send(offer(Sec_WebSocket_Protocol=protocols, Sec_WebSocket_Extensions="permessage-deflate"))
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    (seen,) = upstream.journal
    mine = {name: value for name, value in seen.headers if name.startswith(("sec-", "upgrade", "connection"))}
    assert mine == {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": NONCE,
        "sec-websocket-protocol": "a, b",
    }
    client.leave()


@pytest.mark.parametrize(
    "answer",
    [
        agreement(accept="wrong"),
        agreement(accept=base64.b64encode(hashlib.sha1(b"").digest()).decode()),
        agreement(upgrade="h2c"),
        agreement("Sec-WebSocket-Protocol: c"),
        agreement("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"),
        agreement("Sec-WebSocket-Protocol: xcore.bearer.k"),
        agreement("Sec-WebSocket-Extensions: permessage-deflate"),
        agreement("Content-Length: 0"),
        agreement("Transfer-Encoding: chunked"),
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
async def test_an_agreement_to_something_else_is_502(front, answer):
    """A 101 that does not answer the offer is invalid; its connection is never used again."""
    upstream = await front.upstream(canned(answer))
    got = await front.ask(offer(Sec_WebSocket_Protocol="a, b, xcore.bearer.k"))
    assert (got.status, got["xcore-reason"]) == (502, "UpstreamInvalid")
    upstream.script = canned(ok())
    assert (await front.ask(request())).status == 200
    assert len(upstream.visits) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [("403 Forbidden", b"no"), ("404 Not Found", b""), ("302 Found", b"elsewhere"), ("200 OK", b"a page")],
)
async def test_an_answer_that_is_no_upgrade_is_passed_on(front, status, body):
    """A plugin may answer a handshake like any other request."""
    await front.upstream(canned(ok(body, extra=b"X-Thing: 1\r\n", status=status.encode())))
    client = await front.client()
    answer = await client.ask(offer())
    assert (answer.status, answer.body, answer["x-thing"]) == (int(status[:3]), body, "1")
    assert await client.rest() == b""


async def test_a_plugin_that_accepts_no_websocket_is_told_apart_from_us(front):
    """An empty 403 is what ASGI servers answer when nobody accepts: the client gets a sentence."""
    await front.upstream(canned(ok(b"", status=b"403 Forbidden")))
    answer = await front.ask(offer())
    assert (answer.status, answer["xcore-reason"]) == (403, "Forbidden")
    assert "hello accepts no WebSocket here" in json.loads(answer.body)["detail"]


async def test_what_is_sent_before_the_answer_ends_it(front):
    """Bytes behind a handshake that is not answered yet are no frames: nothing is smuggled in."""
    upstream = await front.upstream(canned(agreement()))
    client = await front.client()
    client.send(offer() + request("GET", "/app/hello/other"))
    answer = await client.answer()
    assert answer.status == 400
    assert await client.rest() == b""
    assert len(upstream.journal) == 1


@pytest.mark.parametrize("status", [b"404 Not Found", b"200 OK"])
async def test_the_guard_holds_where_nothing_was_upgraded(front, status):
    """What follows a refused handshake is not read as a request."""
    upstream = await front.upstream(canned(ok(status=status)))
    client = await front.client()
    await client.ask(offer())
    client.send(request("GET", "/app/hello/other"))
    assert await client.rest() == b""
    assert len(upstream.journal) == 1


async def test_a_websocket_below_other_paths_is_not_there(front):
    """The control plane speaks HTTP alone."""
    assert (await front.ask(offer(target="/api/v1/plugins"))).status == 200
    assert front.asgi[0]["type"] == "http"


# -- origins -------------------------------------------------------------------------------------------------------


def judged(host, *origins):
    headers = [(b"host", host), (b"upgrade", b"websocket"), *[(b"origin", origin) for origin in origins]]
    check_origin(Request(b"GET", b"/app/a/b", "1.1", headers), frozenset({b"https://shop.example:8443"}))


@pytest.mark.parametrize(
    ("host", "origins"),
    [
        (b"example.com", []),
        (b"example.com", [b"https://example.com"]),
        (b"example.com", [b"http://example.com"]),
        (b"EXAMPLE.com:443", [b"HTTPS://example.COM"]),
        (b"example.com", [b"https://example.com:443"]),
        (b"example.com:80", [b"http://example.com"]),
        (b"localhost:8000", [b"http://localhost:8000"]),
        (b"[::1]:8000", [b"http://[::1]:8000"]),
        (b"example.com", [b"https://shop.example:8443"]),
        (b"example.com", [b"https://SHOP.example:8443"]),
    ],
)
def test_pages_of_ours_and_of_listed_origins_may(host, origins):
    judged(host, *origins)


@pytest.mark.parametrize(
    ("host", "origins"),
    [
        (b"example.com", [b"https://evil.example"]),
        (b"example.com", [b"https://example.com.evil.example"]),
        (b"example.com", [b"https://evil-example.com"]),
        (b"example.com", [b"https://sub.example.com"]),
        (b"example.com", [b"https://example.com:8443"]),
        (b"localhost:8000", [b"http://localhost:3000"]),
        (b"localhost:8000", [b"http://127.0.0.1:8000"]),
        (b"example.com:443", [b"http://example.com"]),
        (b"example.com", [b"null"]),
        (b"example.com", [b""]),
        (b"example.com", [b"example.com"]),
        (b"example.com", [b"file://"]),
        (b"example.com", [b"https://example.com/"]),
        (b"example.com", [b"https://user@example.com"]),
        (b"example.com", [b"https://example.com https://evil.example"]),
        (b"example.com", [b"https://example.com", b"https://evil.example"]),
        (b"example.com", [b"http://shop.example:8443"]),
        (b"example.com", [b"https://shop.example"]),
    ],
)
def test_pages_of_others_may_not(host, origins):
    with pytest.raises(Refusal, match="XCORE_ALLOWED_ORIGINS") as refused:
        judged(host, *origins)
    assert refused.value.reason == "Forbidden"
