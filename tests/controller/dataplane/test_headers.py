"""Which header fields cross, each way, on the wire."""

import json
import re

import pytest

from controller.dataplane import headers as rules
from tests.controller.dataplane.support import KEY, canned, ok, request

OURS = {"host", "x-request-id", "xcore-deadline-seconds", "x-forwarded-for", "x-forwarded-proto"}


async def seen_by_plugin(front, *headers):
    upstream = await front.upstream()
    assert (await front.ask(request("GET", "/app/hello/greet", *headers))).status == 200
    return upstream.journal[-1]


async def test_a_plugin_sees_what_the_client_sent_and_what_we_add(front):
    """Ordinary fields arrive as they were, with where the request came from and how long there is."""
    seen = await seen_by_plugin(front, "Accept: text/*", "X-Tag: a", "X-Tag: b", "Content-Type: x/y")
    assert (seen["accept"], seen.all("x-tag"), seen["content-type"]) == ("text/*", ["a", "b"], "x/y")
    assert (seen["host"], seen["x-forwarded-for"], seen["x-forwarded-proto"]) == (
        "localhost",
        "127.0.0.1",
        "http",
    )
    assert seen["xcore-deadline-seconds"] == "30"


@pytest.mark.parametrize(
    "field",
    [
        "Connection: keep-alive, x-thing",
        "Keep-Alive: timeout=5",
        "Proxy-Authorization: Basic x",
        "Proxy-Connection: keep-alive",
        "Proxy-Authenticate: x",
        "TE: trailers",
        "Trailer: x-thing",
        "Authorization: Bearer the-key",
        "X-API-Key: the-key",
        "Forwarded: for=6.6.6.6",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Host: evil",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Client-Cert: x",
        "X-Real-IP: 6.6.6.6",
        "X_Forwarded_For: 6.6.6.6",
        "X_Request_Id: 1",
        "Xcore-Reason: Forged",
        "Xcore-Deadline-Seconds: 99999",
        "X-Accel-Redirect: /internal",
        "Expect: 200-maybe",
    ],
)
async def test_what_is_not_the_clients_to_say_never_reaches_a_plugin(front, field):
    """Credentials, hop-by-hop fields and claims about the origin stop here, whatever their case."""
    seen = await seen_by_plugin(front, field, field.upper() if "Auth" not in field else field.lower())
    name = field.partition(":")[0].lower()
    value = field.partition(": ")[2]
    assert {key for key, _ in seen.headers} == OURS
    if name in OURS:
        assert value not in seen.all(name)


async def test_fields_named_in_connection_are_removed_but_not_ours(front):
    """`Connection` removes what it names, and cannot remove what we say."""
    seen = await seen_by_plugin(
        front, "Connection: X-Secret , x-forwarded-for,host,x-request-id", "X-Secret: 1", "X-Other: 2"
    )
    assert {key for key, _ in seen.headers} == OURS | {"x-other"}
    assert seen["host"] == "localhost"


async def test_trailers_are_never_forwarded_or_merged(front):
    """A trailer cannot add a field after the head was judged."""
    upstream = await front.upstream()
    data = request("POST", chunked=[b"abc"])[:-2] + b"Authorization: Bearer x\r\nX-Role: admin\r\n\r\n"
    answer = await front.ask(data)
    assert answer.status == 200
    (seen,) = upstream.journal
    assert (seen.body, seen.all("x-role"), seen.all("authorization")) == (b"abc", [], [])


@pytest.mark.parametrize("field", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
async def test_a_trailer_that_frames_anew_is_refused(front, field):
    """A trailer cannot tell another length: the request is refused, its plugin never sees it whole."""
    upstream = await front.upstream()
    data = request("POST", chunked=[b"abc"])[:-2] + field + b"\r\n\r\n"
    client = await front.client()
    answer = await client.ask(data)
    assert answer.status in {200, 400}
    assert len(upstream.journal) == (answer.status == 200)
    assert all(seen.body == b"abc" and not seen.all("content-length") for seen in upstream.journal)


async def test_trailers_reach_no_application_either(front):
    """The control plane sees the fields of the head alone."""
    data = request("POST", "/api/v1/x", chunked=[b"abc"])[:-2] + b"X-Role: admin\r\n\r\n"
    assert (await front.ask(data)).body == b"control plane abc"
    assert b"x-role" not in dict(front.asgi[0]["headers"])


@pytest.mark.parametrize(
    "field",
    [
        "Xcore-Reason: ActionFailed",
        "Xcore-Anything: 1",
        "Strict-Transport-Security: max-age=1",
        "Clear-Site-Data: *",
        "Service-Worker-Allowed: /",
        "Alt-Svc: h3",
        "NEL: {}",
        "Report-To: {}",
        "X-Accel-Redirect: /etc",
        "Connection: x-thing",
        "Keep-Alive: timeout=5",
        "Proxy-Authenticate: Basic",
        "Trailer: x",
        "Upgrade: h2c",
        "Server: plugin",
        "X-Content-Type-Options: anything",
        "Date: yesterday",
        "X-Request-ID: forged",
        "X_Thing: 1",
    ],
)
async def test_what_is_not_a_plugins_to_say_never_reaches_a_client(front, field):
    """No plugin can forge our errors, speak for the whole origin, or speak to a proxy in front of us."""
    await front.upstream(canned(ok(extra=field.encode() + b"\r\nX-Thing: 1\r\nX-Plain: 2\r\n")))
    answer = await front.ask(request())
    assert answer["x-plain"] == "2"
    assert {key for key, _ in answer.headers} <= {
        "x-plain",
        "x-thing",
        "content-length",
        "x-content-type-options",
        "x-request-id",
        "date",
    }
    assert field.partition(": ")[2] not in [answer["x-request-id"], answer["date"]]
    assert bool(answer.all("x-thing")) == ("x-thing" not in field)


async def test_no_browser_guesses_what_an_answer_is(front):
    """A plugin's text is not taken for a page or a script, nor is a problem of ours."""
    await front.upstream()
    for target in ("/app/hello/greet", "/app/nobody"):
        assert (await front.ask(request("GET", target)))["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/app/hello", 403),
        ("/app/hello?a=/b/", 403),
        ("http://localhost/app/hello", 403),
        ("/app/hello/", 200),
        ("/app/hello/worker.js", 200),
    ],
)
async def test_a_service_worker_governs_its_plugins_pages_alone(front, target, status):
    """A script at `/app/hello` would govern all of `/app/`: a browser is not given one there."""
    await front.upstream()
    answer = await front.ask(request("GET", target, "Service-Worker: script"))
    assert answer.status == status


@pytest.mark.parametrize("given", ["abc-1.2_X", "a" * 128])
async def test_a_plain_request_id_is_taken_over(front, given):
    """The client's own request id comes back, and the plugin has it too."""
    upstream = await front.upstream()
    answer = await front.ask(request("GET", "/app/hello/greet", f"X-Request-ID: {given}"))
    assert (answer["x-request-id"], upstream.journal[0]["x-request-id"]) == (given, given)


@pytest.mark.parametrize("given", [["a" * 129], ["a b"], ["<script>"], [""], ["a", "b"], ['"']])
async def test_any_other_request_id_is_replaced(front, given):
    """What is not plain, or not one, is replaced by an id of ours."""
    upstream = await front.upstream()
    answer = await front.ask(request("GET", "/app/hello/greet", *[f"X-Request-ID: {one}" for one in given]))
    assert re.fullmatch("[0-9a-f]{16}", answer["x-request-id"])
    assert upstream.journal[0]["x-request-id"] == answer["x-request-id"]


async def test_request_ids_are_unique(front):
    """No two requests get one id from us."""
    await front.upstream()
    client = await front.client()
    assert len({(await client.ask(request()))["x-request-id"] for _ in range(20)}) == 20


@pytest.mark.parametrize("header", ["Authorization: Bearer the-key", "authorization: bearer the-key"])
async def test_the_key_opens_and_goes_no_further(locked, header):
    """A valid key lets a request in and never reaches the plugin."""
    upstream = await locked.upstream()
    assert (await locked.ask(request("GET", "/app/hello/greet", header))).status == 200
    assert KEY.decode() not in str(upstream.journal[0].headers)


async def test_a_problem_carries_the_clients_request_id(front):
    """The id in the body is the id in the header."""
    answer = await front.ask(request("GET", "/app/nobody", "X-Request-ID: mine"))
    assert (answer["x-request-id"], json.loads(answer.body)["requestId"]) == ("mine", "mine")


def test_the_size_of_a_head_is_that_of_its_lines():
    assert rules.size([(b"a", b"b"), (b"cc", b"")]) == len(b"a: b\r\ncc: \r\n")
