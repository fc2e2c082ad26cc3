"""Doubtful requests are refused before anybody acts on them, and the connection ends."""

import asyncio
import json
import resource

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from controller.dataplane.target import parse_target
from tests.controller.dataplane.support import ok, request
from tests.support import until

HOST = b"Host: localhost\r\n"


def head(*lines, start=b"GET /app/hello/greet HTTP/1.1", host=True):
    return b"\r\n".join([start, *([b"Host: localhost"] if host else []), *lines]) + b"\r\n\r\n"


POST = b"POST /app/hello/greet HTTP/1.1"
SMUGGLED = b"GET /app/hello/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked"

AMBIGUOUS = {
    # S55: two ways to tell where the body ends
    "CL.TE": head(b"Content-Length: 5", CHUNKED, start=POST) + b"0\r\n\r\n" + SMUGGLED,
    "TE.CL": head(CHUNKED, b"Content-Length: 4", start=POST) + b"5c\r\n" + SMUGGLED,
    "TE.TE": head(CHUNKED, b"Transfer-Encoding: identity", start=POST) + b"0\r\n\r\n",
    "TE twice": head(CHUNKED, CHUNKED, start=POST) + b"0\r\n\r\n",
    "TE identity, chunked": head(b"Transfer-Encoding: identity, chunked", start=POST) + b"0\r\n\r\n",
    "TE chunked, identity": head(b"Transfer-Encoding: chunked, identity", start=POST) + b"0\r\n\r\n",
    "TE xchunked": head(b"Transfer-Encoding: xchunked", start=POST) + b"0\r\n\r\n",
    "TE gzip": head(b"Transfer-Encoding: gzip", start=POST) + b"x",
    "TE vertical tab": head(b"Transfer-Encoding: \x0bchunked", start=POST) + b"0\r\n\r\n",
    "TE in HTTP/1.0": head(CHUNKED, start=b"POST /app/hello/greet HTTP/1.0") + b"0\r\n\r\n",
    "two CL": head(b"Content-Length: 3", b"Content-Length: 4", start=POST) + b"abcd",
    "the same CL twice": head(b"Content-Length: 3", b"Content-Length: 3", start=POST) + b"abc",
    "CL +4": head(b"Content-Length: +4", start=POST) + b"abcd",
    "CL 0x4": head(b"Content-Length: 0x4", start=POST) + b"abcd",
    "CL 4_0": head(b"Content-Length: 4_0", start=POST) + b"abcd",
    "CL -1": head(b"Content-Length: -1", start=POST),
    "CL 4,5": head(b"Content-Length: 4,5", start=POST) + b"abcd",
    "CL 4 4": head(b"Content-Length: 4 4", start=POST) + b"abcd",
    "CL of 26 digits": head(b"Content-Length: 10000000000000000000000004", start=POST) + b"abcd",
    "CL empty": head(b"Content-Length: ", start=POST),
    # S56: characters that readers disagree on
    "obs-fold": head(b"X-A: 1\r\n folded"),
    "bare CR": head(b"X-A: 1\rX-B: 2"),
    "bare LF": b"GET /app/hello/greet HTTP/1.1\nHost: localhost\n\n",
    "bare LF in a field": head(b"X-A: 1\nX-B: 2"),
    "NUL in a value": head(b"X-A: 1\x002"),
    "NUL in a name": head(b"X\x00A: 1"),
    "space before colon": head(b"X-A : 1"),
    "space in a name": head(b"X A: 1"),
    "space before the first name": b"GET /app/hello/greet HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "empty name": head(b": 1"),
    "no colon": head(b"XA"),
    "HTTP/1.9": head(start=b"GET /app/hello/greet HTTP/1.9"),
    "HTTP/2.0": head(start=b"GET /app/hello/greet HTTP/2.0"),
    "HTTP/0.9": head(start=b"GET /app/hello/greet HTTP/0.9"),
    "HTTP/1.10": head(start=b"GET /app/hello/greet HTTP/1.10"),
    "no version": b"GET /app/hello/greet\r\n\r\n",
    "method in lower case": head(start=b"get /app/hello/greet HTTP/1.1"),
    "nonsense": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    # S57: one Host
    "no Host": head(host=False),
    "two Hosts": head(b"Host: other"),
    "the same Host twice": head(b"Host: localhost"),
    "Host with user": head(b"Host: a@b", host=False),
    "Host with path": head(b"Host: a/b", host=False),
    "Host with space": head(b"Host: a b", host=False),
    "Host with two": head(b"Host: a, b", host=False),
    "empty Host": head(b"Host: ", host=False),
    "absolute form of another host": head(start=b"GET http://other/app/hello/greet HTTP/1.1"),
    "absolute form with user": head(start=b"GET http://u@localhost/app/hello/greet HTTP/1.1"),
    # S58: chunks
    "chunk 0x1": head(CHUNKED, start=POST) + b"0x1\r\na\r\n0\r\n\r\n",
    "chunk +1": head(CHUNKED, start=POST) + b"+1\r\na\r\n0\r\n\r\n",
    "chunk -1": head(CHUNKED, start=POST) + b"-1\r\na\r\n0\r\n\r\n",
    "chunk overflow": head(CHUNKED, start=POST) + b"1" + b"0" * 16 + b"\r\na\r\n0\r\n\r\n",
    "chunk without size": head(CHUNKED, start=POST) + b"\r\na\r\n0\r\n\r\n",
    "chunk of another size": head(CHUNKED, start=POST) + b"3\r\nabcdef\r\n0\r\n\r\n",
    "chunk without its end": head(CHUNKED, start=POST) + b"1\r\na0\r\n\r\n",
    "chunk size ends in LF": head(CHUNKED, start=POST) + b"1\na\r\n0\r\n\r\n",
    "chunk extension with LF": head(CHUNKED, start=POST) + b"1;x\ny\r\na\r\n0\r\n\r\n",
    "chunk size with space": head(CHUNKED, start=POST) + b"1 \r\na\r\n0\r\n\r\n",
    "bad trailer": head(CHUNKED, start=POST) + b"1\r\na\r\n0\r\nx y: 1\r\n\r\n",
}


@pytest.mark.parametrize("which", AMBIGUOUS)
@pytest.mark.parametrize("where", ["plugin", "control plane"])
async def test_ambiguous_requests_are_refused_and_the_connection_ends(front, which, where):
    """400, nothing smuggled, nothing more read from that client."""
    upstream = await front.upstream()
    data = AMBIGUOUS[which] + SMUGGLED
    if where == "control plane":
        data = data.replace(b"/app/hello/greet", b"/api/v1/x")
    client = await front.client()
    answer = await client.ask(data)
    assert (answer.status, answer["connection"]) == (400, "close")
    assert json.loads(answer.body)["reason"] == answer["xcore-reason"] == "MalformedRequest"
    assert await client.rest() == b""
    assert not [seen for seen in upstream.journal if "smuggled" in seen.start]
    assert len(upstream.journal) + len(front.asgi) <= 1


PATHS = [
    b"/app/..",
    b"/app/../api",
    b"/app/.",
    b"/app//",
    b"/app//hello/greet",
    b"/app/hello//greet",
    b"/app/hello/../other/greet",
    b"/app/hello/./greet",
    b"/app/hello/..",
    b"/app/hello/.",
    b"/app/hello/greet/..",
    b"/app/%2e%2e/api/v1/plugins",
    b"/app/%2E%2E/api",
    b"/app/hello/%2e%2e/other/greet",
    b"/app/hello/%2e/greet",
    b"/app/hello/.%2e/greet",
    b"/app/hello%2fgreet",
    b"/app/hello%2Fgreet/x",
    b"/app/hello/..%2fother",
    b"/app/..%2f..%2fadmin/x",
    b"/app/hello/a%2fb",
    b"/app/hello/a%5cb",
    b"/app/hello/a%5Cb",
    b"/app/hello\\greet",
    b"/app/hello/a\\b",
    b"/app/hello/%00",
    b"/app/hello%00/greet",
    b"/app/hello/a%0d%0ab",
    b"/app/hello/%0a",
    b"/app/hello/%7f",
    b"/app/hello/%1b",
    b"/app/hello/%",
    b"/app/hello/%2",
    b"/app/hello/%zz",
    b"/app/%68ello/greet",
    b"/app/hell%6f/greet",
    b"/app/%252e%252e/x",
    b"/app/%c0%ae%c0%ae/x",
    b"/app/%ef%bc%8e%ef%bc%8e/x",
    b"/app/\xc0\xae/x",
    b"/app/hello/\xc3\xa9",
    b"/app/\xef\xbd\x88ello/greet",
    b"/app/HELLO/greet",
    b"/app/Hello/greet",
    b"/app/hello;x/greet",
    b"/app/hello;/greet",
    b"/app/.hello/greet",
    b"/app/-hello/greet",
    b"/app/hello-/greet",
    b"/app/hel_lo/greet",
    b"/app/hel.lo/greet",
    b"/app/hello~/greet",
    b"/app/hello:80/greet",
    b"/app/hello@x/greet",
    b"/app/*/greet",
    b"/app/hello,other/greet",
    b"/app/" + b"a" * 64 + b"/x",
    b"/app/" + b"a" * 300 + b"/x",
    b"/app/?x=1",
    b"/app/",
    b"/app/hello/greet#fragment",
    b"/app/hello#fragment",
    b'/app/hello/"x"',
    b"/app/hello/<x>",
    b"/app/hello/{x}",
    b"/app/hello/a|b",
    b"/app/hello/a^b",
    b"/app/hello/[x]",
]


@pytest.mark.parametrize("path", PATHS)
async def test_no_odd_path_reaches_a_plugin(front, path):
    """400 or 404: names are read from the raw path, and nothing that decodes to another path is let through."""
    upstream = await front.upstream()
    other = await front.upstream(name="other")
    answer = await front.ask(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert answer.status in {400, 404}
    assert not upstream.journal
    assert not other.journal
    assert not front.asgi


@pytest.mark.parametrize("path", [b"/%61pp/hello/greet", b"/app"])
async def test_what_only_resembles_the_prefix_is_not_the_data_plane(front, path):
    """Other spellings of `/app/` go to the application, which knows no such route."""
    upstream = await front.upstream()
    await front.ask(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (len(upstream.journal), len(front.asgi)) == (0, 1)


@pytest.mark.parametrize("path", [b"//app/hello/greet", b"/app%2fhello", b"/x/../app/hello", b"/x%5cy"])
async def test_a_path_that_could_be_read_in_two_ways_is_refused_outside_of_the_data_plane_too(front, path):
    """Neither a plugin nor the application hears of it."""
    upstream = await front.upstream()
    answer = await front.ask(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (answer.status, answer["x-content-type-options"]) == (400, "nosniff")
    assert (len(upstream.journal), len(front.asgi)) == (0, 0)


GOOD = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


@given(st.from_regex(rf"\A(?!{GOOD}\Z)[!-.0->@-~]{{1,80}}\Z"), st.sampled_from(["", "/", "/x", "?q"]))
def test_a_plugin_name_that_is_no_label_is_no_target(name, rest):
    """Whatever is not an RFC 1123 label names no plugin."""
    assert parse_target(f"/app/{name}{rest}".encode()) is None


@given(st.from_regex(rf"\A{GOOD}\Z"), st.from_regex(r"\A[a-z0-9_]{1,20}\Z"))
def test_every_label_is_a_target(name, action):
    """Every name a manifest may have is found again in the path."""
    assert parse_target(f"/app/{name}/{action}?a=b".encode()) == (name, action)
    assert parse_target(f"/app/{name}".encode()) == (name, "")


@given(st.binary(max_size=40))
@settings(suppress_health_check=[HealthCheck.filter_too_much])
def test_no_bytes_at_all_hide_a_separator(path):
    """What is let through has, decoded once, no dot segment, no empty segment, no control character."""
    from urllib.parse import unquote_to_bytes

    if parse_target(b"/app/hello/" + path) is not None:
        segments = unquote_to_bytes(path.split(b"?")[0]).split(b"/")
        assert not {b".", b".."} & set(segments)
        assert b"" not in segments[:-1]
        assert not any(byte < 32 or byte == 127 or byte == 92 for byte in b"".join(segments))


async def test_an_actions_settings_hold_however_its_name_is_written(front):
    """Writing a letter of the action's name in hex does not evade what its manifest demands."""
    upstream = await front.upstream(actions=[{"name": "greet", "methods": ["POST"]}])
    for spelling in ("greet", "gr%65et", "%67%72%65%65%74"):
        assert (await front.ask(request("GET", f"/app/hello/{spelling}"))).status == 405
    assert not upstream.journal


async def test_absolute_form_is_served_as_any_other(front):
    """A request as a proxy would be sent is understood (RFC 9112 section 3.2.2)."""
    upstream = await front.upstream()
    answer = await front.ask(head(start=b"GET http://LOCALHOST/app/hello/greet?a=b HTTP/1.1"))
    assert answer.status == 200
    assert upstream.journal[0].start == "GET /app/hello/greet?a=b HTTP/1.1"
    assert (await front.ask(head(start=b"GET http://localhost/api HTTP/1.1"))).status == 200
    assert front.asgi[0]["path"] == "/api"


@pytest.mark.parametrize(
    "host", [b"example.org", b"example.org:8000", b"[::1]:80", b"127.0.0.1", b"EXAMPLE", b"a:"]
)
async def test_every_kind_of_host_is_fine(front, host):
    """Names, addresses and ports are hosts; the plugin is told the client's."""
    upstream = await front.upstream()
    assert (await front.ask(head(b"Host: " + host, host=False))).status == 200
    assert upstream.journal[0]["host"] == host.decode()


# -- S62: sizes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["/app/hello/", "/api/"])
@pytest.mark.parametrize(
    ("status", "reason", "extra"),
    [
        (414, "URITooLong", ("x" * 9000, b"")),
        (431, "HeadersTooLarge", ("x", b"A: b\r\n" * 101)),
        (431, "HeadersTooLarge", ("x", b"A: " + b"b" * 33_000 + b"\r\n")),
        (431, "HeadersTooLarge", ("x", (b"A: " + b"b" * 1000 + b"\r\n") * 40)),
        (431, "HeadersTooLarge", ("x", b"a" * 33_000 + b": b\r\n")),
    ],
)
async def test_heads_without_measure_are_refused(front, where, status, reason, extra):
    """A line over 8 KiB, over 100 fields or over 32 KiB of them: refused with its own status."""
    upstream = await front.upstream()
    path, fields = extra
    answer = await front.ask(f"GET {where}{path} HTTP/1.1\r\n".encode() + HOST + fields + b"\r\n")
    assert (answer.status, answer["xcore-reason"]) == (status, reason)
    assert not upstream.journal
    assert not front.asgi


async def test_a_large_head_within_measure_is_served(front):
    """100 fields, and 30 KiB of them, are fine."""
    await front.upstream()
    assert (await front.ask(head(*[b"A: b"] * 99))).status == 200
    assert (await front.ask(head(*[b"A: " + b"b" * 1000] * 29))).status == 200
    assert (await front.ask(request("GET", "/app/hello/greet?" + "q" * 8000))).status == 200


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


ENDLESS = {
    "value": head()[:-2] + b"A: " + b"b" * 40_000_000,
    "name": head()[:-2] + b"b" * 40_000_000,
    "target": b"GET /app/" + b"b" * 40_000_000,
    "fields": head()[:-2] + b"A: b\r\n" * 6_000_000,
    "chunk extension": head(CHUNKED, start=POST) + b"1;" + b"x" * 40_000_000,
    "trailer": head(CHUNKED, start=POST) + b"0\r\nA: " + b"x" * 40_000_000,
    "trailers": head(CHUNKED, start=POST) + b"0\r\n" + b"A: b\r\n" * 6_000_000,
}


@pytest.mark.parametrize("which", ENDLESS)
async def test_what_never_ends_is_refused_in_little_memory(front, which):
    """40 MB of one field are answered 431 or 414 after a few KiB, and not gathered."""

    async def script(visit, upstream):
        await visit.reader.read()

    await front.upstream(script)
    data = ENDLESS[which]
    client = await front.client()
    before = peak()

    async def flood():
        for start in range(0, len(data), 65536):
            client.send(data[start : start + 65536])
            await client.writer.drain()

    flooding = asyncio.create_task(flood())
    answer = await client.answer()
    assert (answer.status, answer["xcore-reason"]) in {(431, "HeadersTooLarge"), (414, "URITooLong")}
    assert peak() - before < 8 * 1024
    client.leave()
    await asyncio.gather(flooding, return_exceptions=True)


# -- pipelining and upgrades ----------------------------------------------------------------------------------------


async def slowly(visit, upstream):
    """Answer only when the test says so."""
    while True:
        upstream.journal.append(await visit.request())
        await upstream.go.wait()
        visit.send(ok())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/app/hello/greet", "/app/hello/greet"),
        ("/app/hello/greet", "/api"),
        ("/api", "/app/hello/greet"),
        ("/api", "/api"),
    ],
)
async def test_what_is_pipelined_behind_an_unfinished_request_is_not_served(front, first, second):
    """The first request is answered, and the connection ends: the client asks again, nothing is confused."""
    upstream = await front.upstream(slowly)
    upstream.go = asyncio.Event()
    client = await front.client()
    client.send(request("GET", first) + request("GET", second))
    upstream.go.set()
    assert (await client.answer()).status == 200
    assert await client.rest() == b""
    assert len(upstream.journal) + len(front.asgi) == 1


async def test_a_body_that_looks_like_a_request_is_a_body(front):
    """Nothing in a body is taken for a request."""
    upstream = await front.upstream()
    client = await front.client()
    assert (await client.ask(request("POST", body=SMUGGLED))).status == 200
    assert (await client.ask(request())).status == 200
    assert [seen.start.split()[0] for seen in upstream.journal] == ["POST", "GET"]
    assert upstream.journal[0].body == SMUGGLED


@pytest.mark.parametrize("protocol", ["h2c", "anything"])
async def test_an_offer_to_upgrade_is_not_taken_up(front, protocol):
    """An upgrade is ignored, as HTTP allows: the request is answered as it is."""
    upstream = await front.upstream()
    client = await front.client()
    offer = request(
        "GET",
        "/app/hello/greet",
        "Connection: Upgrade, HTTP2-Settings",
        f"Upgrade: {protocol}",
        "HTTP2-Settings: AAA",
    )
    for _ in range(2):
        answer = await client.ask(offer)
        assert answer.status == 200
    assert not upstream.journal[0].all("upgrade")
    assert not upstream.journal[0].all("http2-settings")


async def test_what_follows_an_offer_to_upgrade_is_not_read(front):
    """Bytes meant for another protocol are never taken for a request."""
    upstream = await front.upstream()
    offer = request("GET", "/app/hello/greet", "Connection: Upgrade", "Upgrade: h2c")
    client = await front.client()
    assert (await client.ask(offer + SMUGGLED)).status == 200
    assert await client.rest() == b""
    assert len(upstream.journal) == 1


async def test_an_upgrade_with_a_body_is_refused(front):
    """Where a body ends that may be of another protocol cannot be known."""
    upstream = await front.upstream()
    offer = request("POST", "/app/hello/greet", "Connection: Upgrade", "Upgrade: h2c", body=SMUGGLED)
    assert (await front.ask(offer)).status == 400
    assert not upstream.journal


async def test_connect_is_refused(front):
    """The front is no tunnel."""
    answer = await front.ask(b"CONNECT localhost:22 HTTP/1.1\r\n" + HOST + b"\r\n")
    assert answer.status == 400


async def test_an_error_of_ours_is_500_and_logged(front, monkeypatch, caplog):
    """A fault of the controller is not blamed on the client."""
    await front.upstream()
    monkeypatch.setattr(front.plane, "ways", None)
    answer = await front.ask(request())
    assert (answer.status, answer["xcore-reason"]) == (500, "Internal")
    assert "an error of ours" in caplog.text
    await until(lambda: not front.plane.active)
    monkeypatch.undo()
