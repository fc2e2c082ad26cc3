"""While an instance is being replaced requests wait for the next one; none is lost that may be repeated."""

import asyncio
import json

import pytest

from controller.dataplane import exchange
from tests.controller.dataplane.support import Upstream, canned, obliging, ok, request
from tests.support import document, until
from xcore.manifest import from_dict
from xcore.routes import Route


async def test_a_request_waits_for_an_instance_and_is_served(front):
    """A request that comes between two instances is answered by the second."""
    front.put(None, hold=True)
    client = await front.client()
    client.send(request("POST", body=b"abc"))
    await until(lambda: front.plane.ways["hello"].held)
    upstream = await front.upstream(put=False)
    front.put(upstream.endpoint)
    assert (await client.answer()).status == 200
    assert upstream.journal[0].body == b"abc"


async def test_waiting_for_an_instance_ends(front, monkeypatch):
    """After five seconds the client is told to try again."""
    assert exchange.HOLD_SECONDS == 5
    monkeypatch.setattr(exchange, "HOLD_SECONDS", 0.2)
    front.put(None, hold=True)
    answer = await front.ask(request())
    assert (answer.status, answer["xcore-reason"], answer["retry-after"]) == (503, "PluginNotReady", "1")
    problem = json.loads(answer.body)
    assert (problem["component"], problem["status"]) == ("plugin", 503)


async def test_the_time_of_waiting_does_not_count_once_there_is_an_instance(front, monkeypatch):
    """Whoever has waited has all the time for the answer that anybody has."""
    monkeypatch.setattr(exchange, "HOLD_SECONDS", 0.3)
    front.put(None, hold=True)
    client = await front.client()
    client.send(request())
    await until(lambda: front.plane.ways["hello"].held)

    async def slow(visit, upstream):
        await visit.request()
        await asyncio.sleep(0.6)
        visit.send(ok())

    upstream = await front.upstream(slow, put=False)
    front.put(upstream.endpoint)
    assert (await client.answer()).status == 200


async def test_where_none_is_expected_nobody_waits(front):
    """A plugin that will not be back soon is told at once, with the time it will be."""
    front.routes.put(Route("hello", from_dict(document()), hold=False, retry_after=17.4))
    answer = await front.ask(request())
    assert (answer.status, answer["xcore-reason"], answer["retry-after"]) == (503, "PluginNotReady", "17")


async def test_whoever_waits_is_told_at_once_when_hope_is_lost(front):
    """When the plugin is given up, or removed, nobody waits any longer."""
    for gone in (lambda: front.put(None, hold=False), lambda: front.routes.drop("hello")):
        front.put(None, hold=True)
        client = await front.client()
        client.send(request())
        await until(lambda: front.plane.ways["hello"].held)
        gone()
        assert (await client.answer()).status in {503, 404}


async def test_a_refused_connection_is_tried_again(front):
    """An instance that does not listen yet is dialled until it does."""
    upstream = Upstream()
    front.put(upstream.endpoint)
    client = await front.client()
    client.send(request("POST", body=b"abc"))
    await until(lambda: front.plane.ways["hello"].held)
    await upstream.start()
    assert (await client.answer()).status == 200
    assert [seen.body for seen in upstream.journal] == [b"abc"]
    assert "hello" in front.suspected
    await upstream.aclose()


async def test_an_instance_that_never_listens_is_given_up(front, monkeypatch):
    """Dialling ends too, and nothing stays behind."""
    monkeypatch.setattr(exchange, "HOLD_SECONDS", 0.3)
    upstream = Upstream()
    front.put(upstream.endpoint)
    answer = await front.ask(request())
    assert (answer.status, answer["xcore-reason"]) == (503, "PluginNotReady")
    upstream._directory.cleanup()


async def hang_up(visit, upstream):
    upstream.journal.append(await visit.request())


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_safe_request_cut_before_a_byte_is_repeated_on_the_next_instance(front, method):
    """A crash before the answer began is not seen by who may be asked again."""
    dying = await front.upstream(hang_up)
    client = await front.client()
    client.send(request(method))
    await until(lambda: dying.journal)
    living = await front.upstream(put=False)
    front.put(living.endpoint)
    assert (await client.answer(head=method == "HEAD")).status == 200
    assert len(living.journal) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("body", [None, b"", b"abc"])
async def test_a_request_with_effects_is_never_repeated(front, method, body):
    """A POST that was cut is 503 with Retry-After: it may have been carried out, so it is the caller's to repeat."""
    upstream = await front.upstream(hang_up)
    answer = await front.ask(request(method, body=body))
    assert (answer.status, answer["xcore-reason"], answer["retry-after"]) == (503, "PluginNotReady", "1")
    assert "may or may not" in json.loads(answer.body)["detail"]
    assert len(upstream.journal) == 1


async def test_a_get_with_a_body_is_not_repeated(front):
    """What was sent on is not kept, so it cannot be sent twice."""
    upstream = await front.upstream(hang_up)
    assert (await front.ask(request("GET", body=b"abc"))).status == 503
    assert len(upstream.journal) == 1


async def test_repeating_ends(front):
    """A plugin that dies of a request gets it three times at most."""
    upstream = await front.upstream(hang_up)
    answer = await front.ask(request())
    assert (answer.status, answer["xcore-reason"]) == (503, "PluginNotReady")
    assert len(upstream.journal) == 3


async def test_idle_connections_of_a_dead_instance_cost_nobody_an_answer(front):
    """Kept connections that broke unnoticed are found out, and the request goes to the living."""
    upstream = await front.upstream()
    clients = [await front.client() for _ in range(8)]
    for client in clients:
        client.send(request())
    for client in clients:
        assert (await client.answer()).status == 200
    await upstream.stop()
    await upstream.start()
    for client in clients:
        client.send(request())
    assert [(await client.answer()).status for client in clients] == [200] * 8


async def test_swapping_instances_under_load_fails_nobody(front):
    """Instances are replaced again and again: every request is answered, by one of them, and the old ones drain."""
    upstreams = []

    async def fresh():
        name = b"%d" % len(upstreams)
        upstreams.append(await front.upstream(canned(ok(name)), put=False))
        front.put(upstreams[-1].endpoint, traffic={"maxConcurrentRequests": 16})

    await fresh()
    done = asyncio.Event()
    answers = []

    async def load():
        client = await front.client()
        while not done.is_set():
            answers.append(await client.ask(request("POST", body=b"x")))

    loads = [asyncio.create_task(load()) for _ in range(12)]
    await until(lambda: len(answers) > 20)
    for _ in range(25):
        old = front.targets[-1]
        served = len(answers)
        await fresh()
        async with asyncio.timeout(5):
            await front.routes.drain("hello", old.instance, 5)
        assert old.inflight == 0
        await until(lambda served=served: len(answers) > served + 20)
        await upstreams[-2].stop()
    done.set()
    await asyncio.gather(*loads)
    assert {answer.status for answer in answers} == {200}
    assert {answer.body for answer in answers} == {b"%d" % number for number in range(26)}


async def test_instances_that_die_under_load_lose_no_repeatable_request(front):
    """Instances are killed without warning: GETs are all answered."""
    upstream = await front.upstream(obliging)
    done = asyncio.Event()
    answers = []

    async def load():
        client = await front.client()
        while not done.is_set():
            answers.append((await client.ask(request())).status)

    loads = [asyncio.create_task(load()) for _ in range(8)]
    for _ in range(6):
        served = len(answers)
        await until(lambda served=served: len(answers) > served + 50)
        await upstream.stop()
        front.put(None, hold=True)
        await upstream.start()
        front.put(upstream.endpoint)
    done.set()
    await asyncio.gather(*loads)
    assert set(answers) == {200}


async def test_a_client_that_fails_while_a_connection_is_made_leaves_it_to_the_next(front):
    """A connection made for somebody who left is used by the next, and nothing is counted twice."""
    upstream = await front.upstream()
    client = await front.client()
    client.send(request())
    await until(lambda: front.plane.active or upstream.journal)
    client.leave()
    await until(lambda: not front.plane.active)
    (pool,) = front.plane.pools
    await until(lambda: pool.busy == 0)
    assert (await front.ask(request())).status == 200
    assert pool.busy == 0
