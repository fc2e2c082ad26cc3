"""Plugins that call plugins: who may, what the other one is told, how deep, how long, and what gets an attacker nothing."""

import asyncio
import contextlib
import itertools
import socket

import pytest

from controller.dataplane.calls import MAX_CALLS, answers
from controller.dataplane.chains import MAX_DEPTH
from controller.dataplane.proxies import Proxies
from tests.controller.dataplane.support import SECONDS, Client, Front, canned, ok, request
from tests.support import until
from xcore.plugin.calling import CALL_SOCKET, CALL_TOKEN, MAX_ANSWER, SERVING, CallFailed, Serving, calls_in
from xcore.runtimes.callsockets import BACKLOG, CONNECTIONS, Caller, CallSockets

CLIENTS = []
NAMES = ["shop", "stock", "mail", *(f"p{number}" for number in range(MAX_DEPTH + 2))]
SHOP = {"calls": ["stock", "mail", "missing"]}


class Calling:
    """A front whose plugins may call; `shop` is an instance that does, with a socket of its own."""

    def __init__(self, front, sockets):
        self.front, self.sockets = front, sockets

    async def plugin(self, name, script, **spec):
        """A plugin behind an upstream, and the directory by which its instance calls."""
        upstream = await self.front.upstream(script, name=name, put=False)
        target = self.front.put(upstream.endpoint, name, **spec)
        directory = self.sockets.give(name, group=None)
        self.sockets.listen(name, plugin=name, instance=target.instance)
        return upstream, directory

    async def shop(self, **spec):
        _, directory = await self.plugin("shop", relay("stock"), **{**SHOP, **spec})
        return directory


@pytest.fixture
async def calling(tmp_path):
    granted = {("shop", "stock"), ("shop", "missing"), ("shop", "shop"), ("stock", "shop"), ("stock", "mail")}
    async with Front(auth=True, granted=granted) as front:
        sockets = CallSockets(tmp_path / "calls")
        sockets.start(answers(front.plane))
        try:
            yield Calling(front, sockets)
        finally:
            while CLIENTS:
                CLIENTS.pop().leave()
            await until(lambda: not sum(map(sockets.connections, NAMES)))
            sockets.close()
        assert not front.plane.chains


async def connected(directory):
    client = Client(*await asyncio.open_unix_connection(directory / CALL_SOCKET, limit=2**25))
    CLIENTS.append(client)
    return client


def token(directory):
    return (directory / CALL_TOKEN).read_text()


def called(directory, target="/app/stock/take", *headers, proof=None, **how):
    bearer = f"Authorization: Bearer {proof or token(directory)}"
    return request("POST", target, bearer, *headers, **how)


async def raw(directory, *args, **how):
    client = await connected(directory)
    return await client.ask(called(directory, *args, **how))


async def hold(visit, upstream):
    """Take a request, and answer when the test says so."""
    while True:
        upstream.journal.append(await visit.request())
        await upstream.may_answer.wait()
        visit.send(ok(b"late"))


def relay(callee):
    """A plugin that calls `callee` for every request, and answers what came of it."""

    async def script(visit, upstream):
        while True:
            message = await visit.request()
            upstream.journal.append(message)
            SERVING.set(Serving(message["xcore-call"] if message.all("xcore-call") else ""))
            try:
                reply = await upstream.calls(f"{callee}/act", b"{}", "application/json")
                said = b"%d %b" % (
                    reply.status,
                    reply.headers.get("xcore-reason", "").encode() or reply.content,
                )
            except CallFailed as failed:
                said = str(failed).encode()
            visit.send(ok(said))

    return script


# -- who may -----------------------------------------------------------------------------------------------------


async def test_a_plugin_calls_another_that_it_names_and_that_the_operator_grants(calling):
    """The other one gets method, path and body, and is told who called, by a header nobody else can send."""
    stock = await calling.front.upstream(canned(ok(b"3 left")), name="stock")
    directory = await calling.shop()
    reply = await calls_in(directory)("stock/take?colour=red", b'{"count": 1}', "application/json")
    assert (reply.status, reply.content) == (200, b"3 left")
    (message,) = stock.journal
    assert message.start == "POST /app/stock/take?colour=red HTTP/1.1"
    assert message.body == b'{"count": 1}'
    assert message["xcore-caller"] == "shop"
    assert not message.all("authorization")


async def test_a_client_cannot_pose_as_a_plugin(calling):
    """What a client sends of these headers is dropped."""
    stock = await calling.front.upstream(name="stock")
    headers = ("Authorization: Bearer the-key", "Xcore-Caller: shop", "Xcore-Call: x", "Xcore_Caller: shop")
    assert (await calling.front.ask(request("POST", "/app/stock/take", *headers))).status == 200
    assert not stock.journal[0].all("xcore-caller") + stock.journal[0].all("xcore-call")


async def test_a_plugin_cannot_tell_the_other_that_somebody_else_called(calling):
    """The header it sends itself is dropped, ours stands there once."""
    stock = await calling.front.upstream(name="stock")
    directory = await calling.shop()
    assert (
        await raw(directory, "/app/stock/take", "Xcore-Caller: admin", "X-Forwarded-For: 192.0.2.1")
    ).status == 200
    assert stock.journal[0].all("xcore-caller") == ["shop"]
    assert "192.0.2.1" not in stock.journal[0]["x-forwarded-for"]


async def test_a_plugin_is_no_proxy_wherever_it_calls_from(calling):
    """Not even from an address that is a trusted proxy's: what it says of others is not read."""
    plane = calling.front.plane
    plane.proxies = Proxies(["127.0.0.0/8"])
    stock = await calling.front.upstream(name="stock")
    await calling.shop()
    caller, loop = Caller("shop", "shop-1", "proof"), asyncio.get_running_loop()
    server = await loop.create_server(lambda: answers(plane)(caller, lambda: None), "127.0.0.1", 0)
    client = Client(*await asyncio.open_connection(*server.sockets[0].getsockname()))
    CLIENTS.append(client)
    said = ("Authorization: Bearer proof", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https")
    assert (await client.ask(request("POST", "/app/stock/take", *said))).status == 200
    server.close()
    [message] = stock.journal
    assert (message["x-forwarded-for"], message["x-forwarded-proto"]) == ("127.0.0.1", "http")


@pytest.mark.parametrize(
    ("spec", "target", "status", "reason"),
    [
        ({"calls": ["mail"]}, "/app/stock/take", 403, "Forbidden"),  # not named
        ({}, "/app/mail/send", 403, "Forbidden"),  # not granted
        ({}, "/app/unknown/act", 403, "Forbidden"),  # whether it is there is not for this plugin to know
        ({}, "/app/missing/act", 404, "PluginNotFound"),
        ({}, "/app/../stock", 400, "MalformedRequest"),
        ({}, "/api/v1/plugins", 404, "NotFound"),
        ({}, "/healthz", 404, "NotFound"),
        ({}, "/", 404, "NotFound"),
    ],
)
async def test_whatever_is_not_granted_and_named_is_refused_by_its_reason(
    calling, spec, target, status, reason
):
    """And no byte of it goes anywhere."""
    stock = await calling.front.upstream(name="stock")
    mail = await calling.front.upstream(name="mail")
    directory = await calling.shop(**spec)
    answer = await raw(directory, target)
    assert (answer.status, answer["xcore-reason"]) == (status, reason)
    assert not stock.journal + mail.journal


async def test_an_action_for_keys_with_scopes_is_for_no_plugin(calling):
    """A plugin has no key, and so no scope: whoever wants it called by plugins leaves the scopes out."""
    scoped = [{"name": "take", "access": "Scoped", "scopes": ["stock"]}]
    stock = await calling.front.upstream(name="stock", actions=scoped)
    directory = await calling.shop()
    answer = await raw(directory)
    assert (answer.status, answer["xcore-reason"]) == (403, "Forbidden")
    assert (await raw(directory, "/app/stock/count")).status == 200
    assert [message.start for message in stock.journal] == ["POST /app/stock/count HTTP/1.1"]


async def test_what_a_plugin_may_call_changes_in_place(calling):
    """Without a new instance: its manifest is looked at for each call."""
    await calling.front.upstream(name="stock")
    directory = await calling.shop()
    assert (await raw(directory)).status == 200
    route = calling.front.routes.get("shop")
    calling.front.route(route.targets, "shop", calls=["mail"])
    assert (await raw(directory)).status == 403
    calling.front.routes.drop("shop")
    assert (await raw(directory)).status == 403


# -- attacks -----------------------------------------------------------------------------------------------------


async def test_only_the_token_of_the_very_instance_is_accepted(calling):
    """None, a wrong one, another instance's, a client's key: 401, and the other plugin hears nothing."""
    stock = await calling.front.upstream(name="stock")
    directory = await calling.shop()
    _, other = await calling.plugin("mail", relay("stock"), calls=["stock"])
    for proof in ("x", token(other), "the-key", token(directory)[:-1], "", "Ünïcode"):
        client = await connected(directory)
        answer = await client.ask(request("POST", "/app/stock/take", f"Authorization: Bearer {proof}"))
        assert (answer.status, answer["xcore-reason"]) == (401, "Unauthenticated")
    client = await connected(directory)
    assert (await client.ask(request("POST", "/app/stock/take"))).status == 401
    assert not stock.journal


async def test_a_token_ends_with_its_instance(calling):
    """A connection it still has is cut, at any other instance's socket it is worth nothing, its own is gone."""
    await calling.front.upstream(name="stock")
    directory = await calling.shop()
    _, other = await calling.plugin("mail", relay("stock"), calls=["stock"])
    client, old = await connected(directory), token(directory)
    assert (await client.ask(called(directory))).status == 200
    calling.sockets.take_back("shop")
    await until(lambda: calling.sockets.caller("shop") is None)
    assert await client.rest() == b""
    assert (await raw(other, proof=old)).status == 401
    assert not directory.exists()


async def test_an_instance_may_read_its_directory_and_not_write_it(calling):
    """By its mode: only the controller can replace the socket, or the token."""
    directory = await calling.shop()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (directory, *directory.iterdir())}
    assert modes == {"shop": 0o755, CALL_SOCKET: 0o666, CALL_TOKEN: 0o444}
    assert directory.parent.stat().st_mode & 0o777 == 0o700
    given = calling.sockets.give("grouped", group=directory.stat().st_gid)
    calling.sockets.listen("grouped", plugin="shop", instance="x")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (given, *given.iterdir())}
    assert modes == {"grouped": 0o750, CALL_SOCKET: 0o660, CALL_TOKEN: 0o440}


async def test_a_flood_of_calls_fills_only_its_own_bulkhead(calling):
    """Beyond MAX_CALLS under way a caller gets 503 at once; another caller, and clients, do not notice."""
    stock = await calling.front.upstream(hold, name="stock", traffic={"maxConcurrentRequests": 1000})
    stock.may_answer = asyncio.Event()
    directory = await calling.shop()
    clients = [await connected(directory) for _ in range(MAX_CALLS)]
    for client in clients:
        client.send(called(directory))
    await until(lambda: len(stock.journal) == MAX_CALLS)
    refused = await raw(directory)
    assert (refused.status, refused["xcore-reason"], refused["retry-after"]) == (503, "QueueFull", "1")
    stock.may_answer.set()
    for client in clients:
        assert (await client.answer()).body == b"late"
    assert (await raw(directory)).status == 200


async def test_connections_without_end_wait_in_the_backlog_of_that_instance(calling):
    """CONNECTIONS are open at once, as many wait, the next fails; another instance connects as ever."""
    await calling.front.upstream(name="stock")
    directory = await calling.shop()
    _, other = await calling.plugin("mail", relay("stock"), calls=["stock"])
    with contextlib.ExitStack() as stack:

        def connect():
            sock = stack.enter_context(
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            )
            sock.connect(str(directory / CALL_SOCKET))

        async def flood():
            for _ in range(CONNECTIONS + BACKLOG + 10):
                connect()
                await asyncio.sleep(0)

        with pytest.raises(BlockingIOError):
            await flood()
        await until(lambda: calling.sockets.connections("shop") == CONNECTIONS)
        assert calling.sockets.connections("shop") == CONNECTIONS
        assert (await raw(other)).status == 403
    await until(lambda: calling.sockets.connections("shop") == 0)
    assert (await raw(directory)).status == 200


async def test_a_slow_body_is_ended_by_the_deadline_and_bothers_nobody(calling):
    """A caller that never ends its body gets IdleTimeout; meanwhile others are served."""
    actions = [{"name": "take", "timeouts": {"idleSeconds": 0.3}}]
    await calling.front.upstream(name="stock", actions=actions)
    directory = await calling.shop()
    client = await connected(directory)
    client.send(called(directory, "/app/stock/take", "Content-Length: 10") + b"abc")
    assert (await raw(directory)).status == 200
    answer = await client.answer()
    assert (answer.status, answer["xcore-reason"]) == (504, "IdleTimeout")


async def test_a_body_over_the_other_plugins_bound_is_refused(calling):
    """`maxBodyBytes` of the action that is called, declared or counted."""
    stock = await calling.front.upstream(name="stock", actions=[{"name": "take", "maxBodyBytes": 4}])
    directory = await calling.shop()
    assert (await raw(directory, body=b"12345")).status == 413
    assert (await raw(directory, chunked=[b"123", b"45"])).status == 413
    assert not [message for message in stock.journal if message.body]


async def test_a_call_is_no_websocket(calling):
    """An upgrade is refused."""
    await calling.front.upstream(name="stock")
    directory = await calling.shop()
    client = await connected(directory)
    upgrade = (
        "Upgrade: websocket",
        "Connection: upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    bearer = f"Authorization: Bearer {token(directory)}"
    assert (await client.ask(request("GET", "/app/stock/take", bearer, *upgrade))).status == 403


# -- chains ------------------------------------------------------------------------------------------------------


async def relaying(calling, name, callee, **spec):
    upstream, directory = await calling.plugin(name, relay(callee), calls=[callee], **spec)
    upstream.calls = calls_in(directory)
    return upstream


async def through(calling, target="/app/shop/act"):
    answer = await calling.front.ask(
        request("POST", target, "Authorization: Bearer the-key", "X-Request-ID: outer")
    )
    return answer.body.decode()


async def test_a_circle_of_calls_is_broken_where_it_closes(calling):
    """shop → stock → shop: the second shop is not asked."""
    shop = await relaying(calling, "shop", "stock")
    await relaying(calling, "stock", "shop")
    assert await through(calling) == "200 508 CallLoop"
    assert len(shop.journal) == 1


async def test_a_plugin_that_calls_itself_is_refused(calling):
    """It would wait for itself."""
    await relaying(calling, "shop", "shop")
    assert await through(calling) == "508 CallLoop"


async def test_the_request_id_of_the_outer_request_is_carried_on(calling):
    """Whatever the caller sends for one."""
    stock = await calling.front.upstream(name="stock")
    await relaying(calling, "shop", "stock")
    await through(calling)
    assert stock.journal[0]["x-request-id"] == "outer"


async def test_a_plugin_that_leaves_the_chain_out_or_forges_it_gets_no_deeper(calling):
    """A call without a name, or with one of another instance's requests, counts as the deepest its instance serves."""
    granted, depth, names = calling.front.plane.granted, MAX_DEPTH + 1, NAMES[3:]
    calling.front.plane.granted = granted | set(itertools.pairwise(names))
    plugins = [await relaying(calling, a, b) for a, b in itertools.pairwise(names)]
    last = await calling.front.upstream(name=names[-1])
    assert await through(calling, "/app/p0/act") == "200 " * MAX_DEPTH + "508 CallLoop"
    assert [len(plugin.journal) for plugin in plugins] == [1] * depth
    assert not last.journal
    forged = plugins[0].journal[0]["xcore-call"]
    for upstream in plugins:
        genuine = upstream.calls

        async def without(*call, calls=genuine):
            SERVING.set(Serving(forged))
            return await calls(*call)

        upstream.calls = without
    assert await through(calling, "/app/p0/act") == "200 " * MAX_DEPTH + "508 CallLoop"
    assert not last.journal


async def test_a_call_of_its_own_accord_begins_a_chain(calling):
    """A background task serves nobody: its call is refused nothing, and has an id of its own."""
    stock = await calling.front.upstream(name="stock")
    directory = await calling.shop()
    SERVING.set(Serving("0" * 32))
    assert (await calls_in(directory)("stock/take", b"", "text/plain")).status == 200
    assert stock.journal[0]["x-request-id"] != "outer"


# -- time --------------------------------------------------------------------------------------------------------


async def test_the_smaller_deadline_counts(calling):
    """The call is told, and ended by, what is left of the request it belongs to."""
    stock = await calling.front.upstream(hold, name="stock")
    stock.may_answer = asyncio.Event()
    quick = [{"name": "act", "timeouts": {"firstByteSeconds": 1.0}}]
    await relaying(calling, "shop", "stock", actions=quick)
    answer = await calling.front.ask(request("POST", "/app/shop/act", "Authorization: Bearer the-key"))
    # Both end at the same moment: either is told of it first.
    assert answer.body.startswith(b"504 ") or answer["xcore-reason"] == "FirstByteTimeout"
    assert 0.5 < float(stock.journal[0]["xcore-deadline-seconds"]) <= 1.0
    stock.may_answer.set()
    await until(lambda: not calling.front.plane.active)


async def test_a_longer_deadline_of_the_caller_does_not_lengthen_the_others(calling):
    """The other action's own deadline is told where it is the smaller one."""
    brief = [{"name": "act", "timeouts": {"firstByteSeconds": 2.0}}]
    stock = await calling.front.upstream(name="stock", actions=brief)
    await relaying(calling, "shop", "stock")
    assert await through(calling) == "200 ok"
    assert stock.journal[0]["xcore-deadline-seconds"] == "2"


# -- what can go wrong -------------------------------------------------------------------------------------------


async def test_a_plugin_that_is_not_ready_is_told_as_that(calling):
    """Suspended, say: 503 with its reason, not answered by the other plugin."""
    calling.front.put(None, "stock")
    directory = await calling.shop()
    answer = await raw(directory)
    assert (answer.status, answer["xcore-reason"]) == (503, "PluginNotReady")


async def test_a_caller_that_leaves_ends_its_call(calling):
    """Nothing is held for somebody who is gone."""
    stock = await calling.front.upstream(hold, name="stock")
    stock.may_answer = asyncio.Event()
    directory = await calling.shop()
    client = await connected(directory)
    client.send(called(directory))
    await until(lambda: stock.journal)
    client.leave()
    await until(lambda: not calling.front.plane.active and calling.sockets.connections("shop") == 0)


async def test_the_next_controller_answers_at_the_same_place(calling):
    """With the same token, in the same directory: an instance that outlives a controller goes on calling."""
    await calling.front.upstream(name="stock")
    directory = await calling.shop()
    calls = calls_in(directory)
    assert (await calls("stock/take", b"", "text/plain")).status == 200
    calling.sockets.close()
    waiting = asyncio.create_task(calls("stock/take", b"", "text/plain"))  # begun while nobody listens
    await asyncio.sleep(0)
    successor = CallSockets(directory.parent)
    successor.sweep(frozenset({"shop"}))
    successor.listen("shop", plugin="shop", instance=calling.front.targets[-1].instance)
    successor.start(answers(calling.front.plane))
    async with asyncio.timeout(SECONDS):
        assert (await waiting).status == 200
    successor.close()


async def test_an_answer_without_bound_is_not_read(calling):
    """The kit refuses it, by length and by chunks; the plugin keeps its memory."""
    huge = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (MAX_ANSWER + 1)
    stock = await calling.front.upstream(canned(huge), name="stock")
    directory = await calling.shop()
    with pytest.raises(CallFailed) as failed:
        await calls_in(directory)("stock/take", b"", "text/plain")
    assert (failed.value.status, failed.value.reason) == (413, "BodyTooLarge")
    stock.script = canned(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"100000\r\n%b\r\n" % bytes(2**20) * 11
    )
    with pytest.raises(CallFailed) as failed:
        await calls_in(directory)("stock/take", b"", "text/plain")
    assert failed.value.reason in {"BodyTooLarge", "UpstreamUnreachable"}
