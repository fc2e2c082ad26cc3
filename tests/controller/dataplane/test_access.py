"""Who may call what, and how refusals look."""

import asyncio
import hashlib
import json
import socket

import pytest

from integrations.grants import Grant, Role
from tests.controller.dataplane.support import Front, ok, request
from tests.support import until

KEY = "Authorization: Bearer the-key"
PUBLIC = {"actions": [{"name": "open", "access": "Public"}]}


def problem(answer):
    """A refusal as RFC 9457 has it; its members are checked against the answer around it."""
    assert answer["content-type"] == "application/problem+json"
    body = json.loads(answer.body)
    assert {"type", "title", "status", "detail", "component", "reason", "requestId"} <= set(body)
    assert (body["type"], body["status"], body["requestId"]) == (
        "about:blank",
        answer.status,
        answer["x-request-id"],
    )
    assert body["reason"] == answer["xcore-reason"]
    return body


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["Authorization: Bearer wrong"],
        ["Authorization: Bearer"],
        ["Authorization: Bearer "],
        ["Authorization: Basic dGhlLWtleQ=="],
        ["Authorization: the-key"],
        ["Authorization: Bearer the-key the-key"],
        ["Authorization: Bearer " + "x" * 10_000],
        [KEY, KEY],
        ["Authorization: Bearer wrong", KEY],
        ["X-API-Key: the-key"],
        ["Authorization_: Bearer the-key"],
    ],
)
async def test_without_one_valid_key_it_is_401(locked, fields):
    """No key, a wrong one, two of them, or another scheme: 401, and the plugin hears nothing."""
    upstream = await locked.upstream()
    client = await locked.client()
    answer = await client.ask(request("GET", "/app/hello/greet", *fields))
    assert (answer.status, answer["www-authenticate"]) == (401, "Bearer")
    assert problem(answer)["component"] == "client"
    assert not upstream.journal
    assert (await client.ask(request("GET", "/app/hello/greet", KEY))).status == 200


async def test_a_public_action_needs_no_key_and_only_it(locked):
    """Public is said of one action; another spelling of another's name does not make it public."""
    await locked.upstream(**PUBLIC)
    statuses = {}
    for action in ("open", "op%65n", "open/more", "closed", "open.", "Open", "", "%6fpen%20"):
        statuses[action] = (await locked.ask(request("GET", f"/app/hello/{action}"))).status
    assert statuses == {
        "open": 200,
        "op%65n": 200,
        "open/more": 200,
        "closed": 401,
        "open.": 401,
        "Open": 401,
        "": 401,
        "%6fpen%20": 401,
    }


async def test_without_authentication_no_key_is_asked_for(front):
    """Switched off is off."""
    await front.upstream()
    assert (await front.ask(request())).status == 200


async def test_a_stranger_does_not_learn_which_plugins_there_are(locked):
    """Without a key an unknown plugin and a known one look alike; with one it is 404."""
    await locked.upstream()
    refused = [await locked.ask(request("GET", f"/app/{name}/x")) for name in ("hello", "nobody")]
    assert [problem(answer)["reason"] for answer in refused] == ["Unauthenticated"] * 2
    answer = await locked.ask(request("GET", "/app/nobody/x", KEY))
    assert (answer.status, problem(answer)["reason"]) == (404, "PluginNotFound")


async def test_names_of_strangers_are_not_kept(locked):
    """Whoever asks for thousands of plugins there are not fills no memory."""
    client = await locked.client()
    for number in range(300):
        await client.ask(request("GET", f"/app/no-{number}/x", KEY))
    assert locked.plane.counters.keys() == {""}
    assert locked.plane.counters[""].by_status == {404: 300}
    assert not locked.plane.ways


async def test_refusals_are_counted_where_they_belong(locked):
    """What a known plugin's callers were refused stands beside what they were answered."""
    await locked.upstream(actions=[{"name": "greet", "methods": ["POST"]}])
    await locked.ask(request())
    await locked.ask(request("GET", "/app/hello/greet", KEY))
    await locked.ask(request("POST", "/app/hello/greet", KEY))
    assert locked.plane.counters["hello"].by_status == {401: 1, 405: 1, 200: 1}


async def test_a_method_the_manifest_does_not_list_is_405(front):
    """The answer names those it does."""
    upstream = await front.upstream(actions=[{"name": "greet", "methods": ["POST", "GET"]}])
    client = await front.client()
    answer = await client.ask(request("DELETE"))
    assert (answer.status, answer["allow"], problem(answer)["reason"]) == (
        405,
        "GET, POST",
        "MethodNotAllowed",
    )
    assert (await client.ask(request("GET"))).status == 200
    assert len(upstream.journal) == 1


async def test_refusals_without_a_body_keep_the_connection(locked):
    """A client may mend its ways on the same connection."""
    await locked.upstream()
    client = await locked.client()
    for _ in range(3):
        answer = await client.ask(request())
        assert not answer.all("connection")
    answer = await client.ask(request("HEAD"), head=True)
    assert int(answer["content-length"]) > 0
    assert (await client.ask(request("GET", "/app/hello/greet", KEY))).status == 200


async def test_a_body_over_the_limit_is_413_before_the_plugin_is_asked(front):
    """The length alone is enough to refuse, and the client hears it though it goes on sending."""
    upstream = await front.upstream(actions=[{"name": "greet", "maxBodyBytes": 1000}])
    client = await front.client()
    client.send(request("POST", body=b"x" * 1001))
    answer = await client.answer()
    assert (answer.status, problem(answer)["reason"], answer["connection"]) == (413, "BodyTooLarge", "close")
    assert not upstream.visits
    assert (await front.ask(request("POST", body=b"x" * 1000))).status == 200


async def test_a_chunked_body_over_the_limit_is_413(front):
    """Chunks are counted as they come; the plugin never sees a whole request."""
    upstream = await front.upstream(actions=[{"name": "greet", "maxBodyBytes": 1000}])
    client = await front.client()
    client.send(request("POST", chunked=[b"x" * 600, b"x" * 600]))
    answer = await client.answer()
    assert (answer.status, problem(answer)["reason"]) == (413, "BodyTooLarge")
    assert await client.rest() == b""
    assert not upstream.journal


async def test_a_refusal_is_there_for_a_client_that_looks_only_after_it_has_sent_more(front):
    """The connection is not reset under an answer that has not been read yet."""
    await front.upstream(actions=[{"name": "greet", "maxBodyBytes": 1000}])
    with socket.create_connection(("127.0.0.1", front.port)) as client:
        client.sendall(request("POST", "/app/hello/greet", "Content-Length: 5000000"))
        await until(lambda: front.plane.counters["hello"].by_status)
        for _ in range(5):
            client.sendall(b"x" * 10_000)
            await asyncio.sleep(0.02)
        client.settimeout(5)
        assert client.recv(1000).startswith(b"HTTP/1.1 413")


async def test_11_mb_in_chunks_are_413_by_default(front):
    """The default limit is 10 MiB, and the answer reaches a client that is still sending."""
    await front.upstream()
    client = await front.client()
    client.send(request("POST", chunked=[b"x" * 65536] * 176))
    assert (await client.answer()).status == 413


async def test_the_control_plane_is_not_behind_the_data_planes_key(locked):
    """Everything outside `/app/` is the application's own business, on the same connection."""
    client = await locked.client()
    for _ in range(2):
        assert (await client.ask(request("POST", "/api/v1/x", body=b"abc"))).body == b"control plane abc"
        assert (await client.ask(request())).status == 401


async def test_running_requests_finish_and_connections_end_when_the_controller_leaves():
    """At shutdown what is under way is answered, on connections that then close; idle ones close at once."""

    from tests.support import until

    go = asyncio.Event()

    async def script(visit, upstream):
        while True:
            upstream.journal.append(await visit.request())
            await go.wait()
            visit.send(ok())

    async with Front() as front:
        upstream = await front.upstream(script)
        idle, waiting, uploading = [await front.client() for _ in range(3)]
        await idle.ask(request("GET", "/api"))
        waiting.send(request())
        uploading.send(request("POST", "/app/hello/greet", "Content-Length: 4") + b"ab")
        await until(lambda: len(front.plane.active) == 2 and upstream.journal)
        leaving = asyncio.create_task(front.shut_down())
        assert await idle.rest() == b""
        uploading.send(b"cd")
        await until(lambda: len(upstream.journal) == 2)
        go.set()
        for client in (waiting, uploading):
            answer = await client.answer()
            assert (answer.status, answer["connection"]) == (200, "close")
            assert await client.rest() == b""
        await leaving
        assert upstream.journal[1].body == b"abcd"


async def test_what_outlives_the_drain_is_told_so():
    """A request still waiting when the data plane closes gets 503 Draining."""

    async with Front() as front:
        front.put(None, hold=True)
        client = await front.client()
        client.send(request())
        await until(lambda: front.plane.active)
        front.plane.close()
        answer = await client.answer()
        assert (answer.status, answer["xcore-reason"], answer["retry-after"]) == (503, "Draining", "1")


# -- keys with limits ----------------------------------------------------------------------------------------------

LIMITED = "Authorization: Bearer limited-key"


def limited(front, **limits):
    """Let a caller's key in, with these limits."""
    front.plane.gate.replace([Grant("k1", Role.CALLER, hashlib.sha256(b"limited-key").digest(), **limits)])


async def test_a_key_for_some_plugins_and_actions_is_403_elsewhere(locked):
    """The action, another, the description, its document, a plugin it is not for, one that is not there."""
    upstream = await locked.upstream()
    await locked.upstream(name="other")
    limited(locked, plugins={"hello"}, actions={"greet"})
    statuses = {}
    for path in (
        "hello/greet",
        "hello/gr%65et",
        "hello/add",
        "hello",
        "hello/openapi.json",
        "other/greet",
        "no/greet",
    ):
        answer = await locked.ask(request("GET", f"/app/{path}", LIMITED))
        statuses[path] = (answer.status, "" if answer.status == 200 else problem(answer)["reason"])
    assert statuses == {
        "hello/greet": (200, ""),
        "hello/gr%65et": (200, ""),
        **dict.fromkeys(
            ("hello/add", "hello", "hello/openapi.json", "other/greet", "no/greet"), (403, "Forbidden")
        ),
    }
    assert len(upstream.journal) == 2


async def test_a_scoped_action_wants_its_scopes(locked):
    """A key that has them all is let in, the administrator's too; one that lacks one is told which."""
    scoped = {"name": "greet", "access": "Scoped", "scopes": ["a:read", "a:write"]}
    await locked.upstream(actions=[scoped])
    limited(locked, scopes={"a:read"})
    answer = await locked.ask(request("GET", "/app/hello/greet", LIMITED))
    assert (answer.status, problem(answer)["detail"]) == (403, "this key lacks a:write")
    limited(locked, scopes={"a:read", "a:write"})
    assert (await locked.ask(request("GET", "/app/hello/greet", LIMITED))).status == 200
    assert (await locked.ask(request("GET", "/app/hello/greet", KEY))).status == 200


async def test_wrong_keys_are_limited_and_good_ones_are_not(locked):
    """The eleventh wrong one is 429 with a time to wait; a good key from the same address is let in all the same."""
    await locked.upstream()
    client = await locked.client()
    wrong = request("GET", "/app/hello/greet", "Authorization: Bearer wrong")
    statuses = [(await client.ask(wrong)).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    answer = await client.ask(wrong)
    assert (problem(answer)["reason"], answer["retry-after"]) == ("RateLimited", "6")
    assert (await client.ask(request("GET", "/app/hello/greet", KEY))).status == 200
    assert (await client.ask(request("GET", "/app/hello/greet"))).status == 401


async def test_what_a_revoked_key_has_under_way_is_cut(locked):
    """A request that waits is told; what others have under way goes on."""
    held = asyncio.Event()

    async def slow(visit, upstream):
        upstream.journal.append(await visit.request())
        await held.wait()
        visit.send(ok())

    upstream = await locked.upstream(slow)
    limited(locked)
    theirs, ours = await locked.client(), await locked.client()
    theirs.send(request("GET", "/app/hello/greet", LIMITED))
    ours.send(request("GET", "/app/hello/greet", KEY))
    await until(lambda: len(upstream.journal) == 2)
    locked.plane.gate.replace([])
    answer = await theirs.answer()
    assert (answer.status, problem(answer)["reason"]) == (401, "Unauthenticated")
    held.set()
    assert (await ours.answer()).status == 200
