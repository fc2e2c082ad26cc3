"""A plugin with several instances: each gets its share, and one that is gone costs nobody an answer."""

import asyncio
import socket

from tests.controller.dataplane.support import obliging, ok, request
from tests.support import until
from xcore.endpoint import AddressEndpoint


def target_of(front, endpoint):
    front._instances += 1
    target = front.routes.target("hello", f"hello-{front._instances}", endpoint)
    front.targets.append(target)
    return target


async def spread(front, count, script=obliging):
    """Route a plugin to `count` instances at once."""
    upstreams = [await front.upstream(script, put=False) for _ in range(count)]
    targets = [target_of(front, upstream.endpoint) for upstream in upstreams]
    front.route(targets)
    return upstreams, targets


def gone():
    """An address nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return AddressEndpoint("127.0.0.1", listener.getsockname()[1])


async def test_requests_go_to_all_instances(front):
    """One after another, each instance gets the same number."""
    upstreams, _ = await spread(front, 3)
    for _ in range(9):
        assert (await front.ask(request())).status == 200
    assert [len(upstream.journal) for upstream in upstreams] == [3, 3, 3]


async def test_a_busy_instance_is_spared(front):
    """While one instance has a slow request, the other gets the rest."""
    release = asyncio.Event()

    async def slow(visit, upstream):
        await visit.request()
        await release.wait()
        visit.send(ok())

    busy, idle = await front.upstream(slow, put=False), await front.upstream(put=False)
    first = target_of(front, busy.endpoint)
    front.route([first])
    waiting = await front.client()
    waiting.send(request())
    await until(lambda: first.inflight)
    front.route([first, target_of(front, idle.endpoint)])
    for _ in range(4):
        assert (await front.ask(request())).status == 200
    release.set()
    assert (await waiting.answer()).status == 200
    assert len(idle.journal) == 4


async def test_an_instance_that_is_gone_costs_nobody_an_answer(front):
    """Where a connection is refused the request goes to another at once, whatever its method."""
    upstream = await front.upstream(put=False)
    front.route([target_of(front, gone()), target_of(front, gone()), target_of(front, upstream.endpoint)])
    for _ in range(6):
        assert (await front.ask(request("POST", body=b"x"))).status == 200
    assert len(upstream.journal) == 6


async def test_an_instance_that_breaks_off_is_not_asked_again(front):
    """A request that may be repeated is answered by the other instance."""

    async def hang_up(visit, upstream):
        await visit.request()
        visit.close()

    broken = await front.upstream(hang_up, put=False)
    whole = await front.upstream(put=False)
    front.route([target_of(front, broken.endpoint), target_of(front, whole.endpoint)])
    answers = [await front.ask(request()) for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert len(whole.journal) == 4


async def test_an_instance_leaves_without_losing_what_it_has(front):
    """A target that is taken out of the route finishes its request; new ones go to the others."""
    release = asyncio.Event()

    async def slow(visit, upstream):
        await visit.request()
        await release.wait()
        visit.send(ok())

    leaving = await front.upstream(slow, put=False)
    staying = await front.upstream(put=False)
    old, new = target_of(front, leaving.endpoint), target_of(front, staying.endpoint)
    front.route([old])
    client = await front.client()
    client.send(request())
    await until(lambda: old.inflight)
    front.route([new])
    assert (await front.ask(request())).status == 200
    draining = asyncio.create_task(front.routes.drain("hello", old.instance, 5))
    release.set()
    assert (await client.answer()).status == 200
    await draining
    assert old.inflight == 0
