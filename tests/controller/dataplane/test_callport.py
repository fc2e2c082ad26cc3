"""The port at which pods call: who calls is found out by what they show, and nobody has more than their part of it."""

import asyncio
import contextlib
import gc
import socket

import pytest

from controller.dataplane import callport
from controller.dataplane.callport import BY_ADDRESS, CallPort
from controller.dataplane.calls import port_answers
from controller.dataplane.chains import Chains
from tests.controller.dataplane.support import SECONDS, Client, Front, canned, ok, request
from tests.support import until
from xcore.errors import RuntimeUnavailable
from xcore.plugin.calling import CALL_TOKEN, SERVING, CallFailed, Serving, calls_at
from xcore.runtimes.callsockets import Caller

GRANTED = {("shop", "stock"), ("stock", "shop")}


class Calling:
    """A front with a port for calls; whoever shows `good` is `shop`, which has to be asked about first where `asked` says so."""

    def __init__(self, front, directory):
        self.front, self.directory = front, directory
        self.shop = Caller("shop", "shop-1")
        self.asked, self.failure, self.seen, self.clients = None, None, [], []
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.port = CallPort(listener, self.address, self.identify)
        front.plane.chains = Chains(self.address)
        (directory / CALL_TOKEN).write_text("good")

    def identify(self, token, address):
        self.seen.append(address)
        known = self.shop if token == b"good" else None
        return known if self.asked is None else self.found_out(known)

    async def found_out(self, known):
        await self.asked.wait()
        if self.failure is not None:
            raise self.failure
        return known

    async def connected(self):
        host, _, port = self.address.rpartition(":")
        client = Client(*await asyncio.open_connection(host, int(port)))
        self.clients.append(client)
        return client


@pytest.fixture
async def calling(tmp_path):
    async with Front(auth=True, granted=GRANTED) as front:
        calling = Calling(front, tmp_path)
        await calling.port.start(port_answers(front.plane, calling.port))
        front.put((await front.upstream(name="shop", put=False)).endpoint, "shop", calls=["stock"])
        try:
            yield calling
        finally:
            for client in calling.clients:
                client.leave()
            calling.port.close()
        await until(lambda: not calling.port._taken)
        assert not front.plane.active
        assert not front.plane.chains
        assert calling.shop.busy == 0


def bearer(token="good"):
    return f"Authorization: Bearer {token}"


async def test_who_shows_its_token_calls(calling):
    """It is known by that and by its address; the other one is told who it is."""
    stock = await calling.front.upstream(canned(ok(b"3 left")), name="stock")
    reply = await calls_at(calling.address, calling.directory)("stock/take", b"{}", "application/json")
    assert (reply.status, reply.content) == (200, b"3 left")
    assert stock.journal[0]["xcore-caller"] == "shop"
    assert calling.seen == ["127.0.0.1"]


async def test_while_it_is_found_out_who_calls_the_call_waits(calling):
    """With what has come of its body; then it goes its way as any other."""
    stock = await calling.front.upstream(canned(ok(b"3 left")), name="stock")
    calling.asked = asyncio.Event()
    client = await calling.connected()
    body = bytes(200_000)
    asking = asyncio.create_task(client.ask(request("POST", "/app/stock/take", bearer(), body=body)))
    await until(lambda: calling.front.plane.active)
    assert stock.journal == []
    calling.asked.set()
    answer = await asking
    assert (answer.status, answer.body) == (200, b"3 left")
    assert stock.journal[0].body == body


async def test_a_body_that_was_too_large_before_it_was_known_for_whom_is_refused(calling):
    """What is allowed depends on what is called, and by whom."""
    limit = [{"name": "take", "maxBodyBytes": 1000}]
    stock = await calling.front.upstream(name="stock", actions=limit)
    warm = await calling.connected()  # a connection to the plugin is at hand: nothing delays what is sent
    assert (await warm.ask(request("POST", "/app/stock/take", bearer()))).status == 200
    calling.asked = asyncio.Event()
    client = await calling.connected()
    client.send(request("POST", "/app/stock/take", bearer(), chunked=[bytes(2000)]))
    await until(lambda: calling.front.plane.active)
    calling.asked.set()
    answer = await client.answer()
    assert (answer.status, answer["xcore-reason"]) == (413, "BodyTooLarge")
    assert len(stock.journal) == 1
    client.leave()


async def test_who_leaves_before_it_is_found_out_leaves_nothing(calling):
    """Nothing is sent to the other plugin."""
    stock = await calling.front.upstream(name="stock")
    calling.asked = asyncio.Event()
    client = await calling.connected()
    client.send(request("POST", "/app/stock/take", bearer()))
    await until(lambda: calling.front.plane.active)
    client.leave()
    await until(lambda: not calling.front.plane.active)
    await until(lambda: not [task for task in asyncio.all_tasks() if "_find_out" in repr(task)])
    assert not calling.asked.is_set()
    assert stock.journal == []


@pytest.mark.parametrize("at_once", [True, False])
async def test_who_shows_no_token_of_a_pods_is_refused(calling, at_once):
    """Nothing, something else, a key: 401, and the other plugin hears nothing of it."""
    stock = await calling.front.upstream(name="stock")
    if not at_once:
        calling.asked = asyncio.Event()
        calling.asked.set()
    for headers in ((), (bearer("bad"),), (bearer("the-key"),), ("Authorization: Basic Z29vZA==",)):
        client = await calling.connected()
        answer = await client.ask(request("POST", "/app/stock/take", *headers))
        assert (answer.status, answer["xcore-reason"]) == (401, "Unauthenticated")
        client.leave()
    assert stock.journal == []


async def test_that_it_cannot_be_found_out_is_an_outage(calling):
    """503 with Retry-After: the caller is told to come again, and not that it may not."""
    calling.asked, calling.failure = asyncio.Event(), RuntimeUnavailable("the API server is away")
    calling.asked.set()
    client = await calling.connected()
    answer = await client.ask(request("POST", "/app/stock/take", bearer()))
    assert (answer.status, answer["xcore-reason"], answer["retry-after"]) == (503, "RuntimeUnavailable", "1")


async def test_an_error_of_ours_is_told_at_once(calling, caplog):
    """As what it is, and not as a deadline of the caller's."""
    calling.asked, calling.failure = asyncio.Event(), ZeroDivisionError
    calling.asked.set()
    await calling.front.upstream(name="stock")
    client = await calling.connected()
    answer = await client.ask(request("POST", "/app/stock/take", bearer()))
    assert (answer.status, answer["xcore-reason"]) == (500, "Internal")
    await until(lambda: gc.collect() >= 0 and "ZeroDivisionError" in caplog.text)


async def test_a_call_goes_back_to_the_controller_its_request_came_from(calling):
    """Its name says where; one that is named after another controller's request is sent there, and refused here."""
    await calling.front.upstream(canned(ok(b"3 left")), name="stock")
    serving = SERVING.set(Serving("0" * 32 + "@127.0.0.1:1"))
    try:
        client = await calling.connected()
        named = f"xcore-call: {SERVING.get().call}"
        answer = await client.ask(request("POST", "/app/stock/take", bearer(), named))
        assert (answer.status, answer["xcore-reason"]) == (421, "Misdirected")
        client.leave()
        # There is nobody at that address any more: what is left to do belongs to no request.
        reply = await calls_at(calling.address, calling.directory)("stock/take", b"{}", "application/json")
        assert reply.status == 200
        SERVING.set(Serving(f"{'0' * 32}@{calling.address}"))
        reply = await calls_at("127.0.0.1:1", calling.directory)("stock/take", b"{}", "application/json")
        assert reply.status == 200
    finally:
        SERVING.reset(serving)


async def test_where_nobody_answers_a_call_fails_as_one_to_try_again(calling, monkeypatch):
    """After a moment in which the next controller might have come."""
    monkeypatch.setattr("xcore.plugin.calling.CONNECT_SECONDS", 0.1)
    with pytest.raises(CallFailed) as failed:
        await calls_at("127.0.0.1:1", calling.directory)("stock/take", b"{}", "application/json")
    assert (failed.value.status, failed.value.reason) == (503, "RuntimeUnavailable")


async def test_of_one_address_only_so_many_connections_are_taken(calling):
    """One more is cut; when one ends there is room again."""
    await calling.front.upstream(name="stock")
    clients = [await calling.connected() for _ in range(BY_ADDRESS)]
    await until(lambda: len(calling.port._taken) == BY_ADDRESS)
    one_more = await calling.connected()
    async with asyncio.timeout(SECONDS):
        with contextlib.suppress(ConnectionError):
            assert await one_more.reader.read() == b""
    clients.pop().leave()
    await until(lambda: len(calling.port._taken) == BY_ADDRESS - 1)
    again = await calling.connected()
    assert (await again.ask(request("POST", "/app/stock/take", bearer()))).status == 200


async def test_in_all_only_so_many_are_taken(calling, monkeypatch):
    """Whatever their addresses are."""
    monkeypatch.setattr(callport, "CONNECTIONS", 1)
    await calling.connected()
    await until(lambda: len(calling.port._taken) == 1)
    other = await calling.connected()
    async with asyncio.timeout(SECONDS):
        with contextlib.suppress(ConnectionError):
            assert await other.reader.read() == b""


async def test_nothing_but_plugins_is_served_there(calling):
    """No route of the control plane, nor a WebSocket."""
    client = await calling.connected()
    answer = await client.ask(request("GET", "/healthz", bearer()))
    assert (answer.status, answer["xcore-reason"]) == (404, "NotFound")
    assert calling.front.asgi == []
