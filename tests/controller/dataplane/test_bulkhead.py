"""One slow plugin fills only its own places, and every place is given back."""

import asyncio
import random

import pytest
from hypothesis import given, strategies as st

from controller.dataplane.limits import Bulkhead
from tests.controller.dataplane.support import ok, request
from tests.support import until


def places(limit, length, seconds=10):
    return {
        "traffic": {"maxConcurrentRequests": limit, "queue": {"maxLength": length, "timeoutSeconds": seconds}}
    }


async def gated(visit, upstream):
    while True:
        upstream.journal.append(await visit.request())
        await upstream.go.acquire()
        visit.send(ok())


async def test_only_so_many_are_under_way_and_only_so_many_wait(front):
    """At the limit requests wait, beyond the queue they are refused at once, and all that waited are served."""
    upstream = await front.upstream(gated, **places(2, 3))
    upstream.go = asyncio.Semaphore(0)
    clients = [await front.client() for _ in range(5)]
    for client in clients:
        client.send(request())
    bulkhead = front.plane.bulkheads["hello"]
    await until(lambda: (bulkhead.active, bulkhead.waiting) == (2, 3))
    await until(lambda: len(upstream.journal) == 2)
    extra = await front.client()
    answer = await extra.ask(request())  # while all before it still wait
    assert (answer.status, answer["xcore-reason"], answer["retry-after"]) == (503, "QueueFull", "1")
    for _ in clients:
        upstream.go.release()
    assert [(await client.answer()).status for client in clients] == [200] * 5
    assert len(upstream.visits) <= 2


async def test_waiting_ends_in_time(front):
    """Whoever finds no place in time is told to try again."""
    upstream = await front.upstream(gated, **places(1, 5, 0.2))
    upstream.go = asyncio.Semaphore(0)
    first = await front.client()
    first.send(request())
    await until(lambda: upstream.journal)
    answer = await front.ask(request())
    assert (answer.status, answer["xcore-reason"], answer["retry-after"]) == (503, "QueueFull", "1")
    upstream.go.release()
    assert (await first.answer()).status == 200


async def test_other_plugins_do_not_notice(front):
    """A plugin whose places are all taken delays nobody else."""
    slow = await front.upstream(gated, "slow", **places(1, 1))
    slow.go = asyncio.Semaphore(0)
    await front.upstream(name="other")
    for _ in range(3):
        (await front.client()).send(request("GET", "/app/slow/x"))
    await until(lambda: front.plane.bulkheads["slow"].waiting == 1)
    for _ in range(20):
        assert (await front.ask(request("GET", "/app/other/x"))).status == 200


async def test_a_changed_limit_holds_at_once(front):
    """The number of places follows the manifest without a restart, and who waits already profits."""
    upstream = await front.upstream(gated, **places(1, 0))
    upstream.go = asyncio.Semaphore(0)
    (await front.client()).send(request())
    await until(lambda: upstream.journal)
    assert (await front.ask(request())).status == 503
    front.put(upstream.endpoint, **places(1, 1))
    second = await front.client()
    second.send(request())
    await until(lambda: front.plane.bulkheads["hello"].waiting == 1)
    front.put(upstream.endpoint, **places(2, 1))
    await until(lambda: len(upstream.journal) == 2)
    upstream.go.release()
    upstream.go.release()
    assert (await second.answer()).status == 200


async def test_hundreds_who_wait_for_a_plugin_that_goes_are_all_told(front):
    """When a plugin is removed everybody in its queue hears, however long it is."""
    upstream = await front.upstream(gated, **places(1, 3000))
    upstream.go = asyncio.Semaphore(0)
    clients = await asyncio.gather(*[front.client() for _ in range(1500)])
    for client in clients:
        client.send(request())
    bulkhead = front.plane.bulkheads["hello"]
    await until(lambda: bulkhead.waiting == 1499)
    front.routes.drop("hello")
    upstream.go.release()
    statuses = [(await client.answer()).status for client in clients]
    assert sorted(set(statuses)) == [200, 404]
    assert (bulkhead.active, bulkhead.waiting) == (0, 0)


class Whims:
    """An upstream, clients and a supervisor that do anything, by a seed."""

    def __init__(self, front, seed):
        self.front, self.chance = front, random.Random(seed)
        self.spec = {
            **places(4, 6, 0.3),
            "actions": [{"name": "greet", "timeouts": {"firstByteSeconds": 0.2, "maxDurationSeconds": 2}}],
        }

    async def script(self, visit, upstream):
        while True:
            await (visit.reader.readuntil(b"\r\n\r\n") if self.chance.random() < 0.2 else visit.request())
            turn = self.chance.randrange(8)
            if turn == 0:
                visit.cut()
            elif turn == 1:
                await visit.reader.read()
            elif turn == 2:
                visit.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
                return
            else:
                visit.send([b"nonsense\r\n\r\n", ok() + b"leftover", ok(), ok(), ok()][turn - 3])

    async def visitor(self):
        for _ in range(15):
            client = await self.front.client()
            body = self.chance.choice([None, b"x", b"x" * 200_000])
            client.send(request("POST" if body else self.chance.choice(["GET", "HEAD"]), body=body))
            if self.chance.random() < 0.3:
                await asyncio.sleep(self.chance.random() * 0.05)
            else:
                await client.reader.read(1)
            client.leave()

    async def meddler(self, upstream):
        for _ in range(20):
            await asyncio.sleep(0.05)
            gone = self.chance.random() < 0.3
            self.front.put(None if gone else upstream.endpoint, hold=self.chance.random() < 0.8, **self.spec)
        self.front.put(upstream.endpoint, **self.spec)


@pytest.mark.parametrize("seed", range(3))
async def test_every_place_is_given_back_whatever_happens(front, seed):
    """After hundreds of requests that end in every possible way, nothing is held."""
    whims = Whims(front, seed)
    upstream = await front.upstream(whims.script, **whims.spec)
    async with asyncio.timeout(60):
        await asyncio.gather(whims.meddler(upstream), *[whims.visitor() for _ in range(20)])
    await until(lambda: not front.plane.active)
    await until(lambda: sum(pool.busy for pool in front.plane.pools) == 0)
    front.assert_nothing_left()
    assert sum(front.plane.counters["hello"].by_status.values()) >= 300 - 20


class Place:
    """A waiter that may leave as soon as it is admitted."""

    def __init__(self, bulkhead, limit, *, hasty):
        self.bulkhead, self.limit, self.hasty = bulkhead, limit, hasty
        self.inside = False

    def admitted(self):
        self.inside = True
        if self.hasty:
            self.leave()

    def leave(self):
        self.inside = False
        self.bulkhead.leave(self.limit)


@given(
    st.integers(1, 4),
    st.integers(0, 5),
    st.lists(st.tuples(st.sampled_from("elaa"), st.booleans()), max_size=60),
)
def test_a_bulkhead_never_holds_more_than_its_limit_and_forgets_nobody(limit, length, steps):
    """Whatever enters, leaves, or gives up: never too many, and none is left waiting before a free place."""
    bulkhead = Bulkhead()
    places = []
    for step, flag in steps:
        inside = [place for place in places if place.inside]
        waiting = [place for place in places if place in bulkhead._queue]
        if step == "e":
            places.append(Place(bulkhead, limit, hasty=flag))
            places[-1].inside = bulkhead.enter(places[-1], limit=limit, length=length) is True
        elif step == "l" and inside:
            inside[0].leave()
        elif step == "a" and waiting:
            bulkhead.abandon(waiting[-1])
        assert bulkhead.active == sum(place.inside for place in places) <= limit
        assert bulkhead.waiting <= length
        assert not bulkhead.waiting or bulkhead.active == limit


def test_a_long_queue_of_hasty_waiters_is_no_deep_recursion():
    bulkhead = Bulkhead()
    first = Place(bulkhead, 1, hasty=False)
    assert bulkhead.enter(first, limit=1, length=10_000)
    for _ in range(10_000):
        assert bulkhead.enter(Place(bulkhead, 1, hasty=True), limit=1, length=10_000) is False
    first.leave()
    assert (bulkhead.active, bulkhead.waiting) == (0, 0)
