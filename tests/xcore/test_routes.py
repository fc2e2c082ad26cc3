"""The route table: which instance answers, and when one may be stopped."""

import asyncio

from tests.support import manifest
from xcore.routes import SWITCH_SECONDS, Route, RouteTable
from xcore.testing import Behaviour, FakeClock, FakeEndpoint

CLOCK = FakeClock()
ENDPOINT = FakeEndpoint(Behaviour(), CLOCK, 0.0)


def route(target, plugin="hello"):
    return Route(plugin, manifest(plugin), (target,) if target else ())


def table():
    clock = FakeClock()
    routes = RouteTable(clock=clock)
    first = routes.target("hello", "first", ENDPOINT)
    routes.put(route(first))
    return clock, routes, first


def test_a_route_is_there_from_put_to_drop():
    _, routes, first = table()
    assert routes.get("hello").target is first
    assert [r.plugin for r in routes] == ["hello"]
    routes.drop("hello")
    assert routes.get("hello") is None
    routes.drop("hello")


def test_whoever_listens_is_called_after_every_change():
    _, routes, first = table()
    heard = []
    routes.listen(lambda plugin: heard.append((plugin, routes.get(plugin) is not None)))
    routes.put(route(first))
    routes.drop("hello")
    assert heard == [("hello", True), ("hello", False)]


def test_an_instance_has_one_target_so_that_its_requests_are_counted_together():
    _, routes, first = table()
    first.enter()
    assert routes.target("hello", "first", ENDPOINT) is first
    routes.put(route(None))
    assert routes.target("hello", "first", ENDPOINT) is first, "a request is still on its way"


def test_an_instance_is_its_plugins_own_whatever_others_call_theirs():
    """Pods of two namespaces may have one name: neither gets what is meant for the other."""
    _, routes, first = table()
    elsewhere = FakeEndpoint(Behaviour(), CLOCK, 0.0)
    other = routes.target("other", "first", elsewhere)
    routes.put(route(other, "other"))
    assert (routes.get("hello").target.endpoint, routes.get("other").target.endpoint) == (ENDPOINT, elsewhere)
    assert routes.target("hello", "first", ENDPOINT) is first
    assert first.endpoint is not other.endpoint


def test_targets_that_no_route_names_are_forgotten_once_their_requests_are_done():
    _, routes, first = table()
    first.enter()
    for number in range(100):
        routes.put(route(routes.target("hello", f"instance-{number}", ENDPOINT)))
    first.leave()
    routes.put(route(routes.target("hello", "last", ENDPOINT)))
    assert set(routes._targets) == {("hello", "last")}


async def test_draining_ends_when_no_route_names_the_instance_and_its_last_request_is_done():
    clock, routes, first = table()
    first.enter()
    first.enter()
    draining = asyncio.create_task(routes.drain("hello", "first", 30))
    await clock.advance(5)
    assert not draining.done()
    routes.put(route(routes.target("hello", "second", ENDPOINT)))
    await clock.advance(5)
    first.leave()
    await clock.advance(5)
    assert not draining.done()
    first.leave()
    await clock.advance(0)
    assert draining.done()


async def test_draining_an_idle_instance_ends_with_the_switch():
    clock, routes, _ = table()
    draining = asyncio.create_task(routes.drain("hello", "first", 30))
    await clock.advance(1)
    routes.drop("hello")
    await clock.advance(0)
    assert draining.done()
    await asyncio.wait_for(routes.drain("hello", "first", 30), 1)
    await asyncio.wait_for(routes.drain("unknown", "nobody", 30), 1)


async def test_draining_takes_no_longer_than_it_may():
    clock, routes, first = table()
    first.enter()
    draining = asyncio.create_task(routes.drain("hello", "first", 30))
    await clock.advance(10)
    routes.drop("hello")
    await clock.advance(19)
    assert not draining.done()
    await clock.advance(2)
    assert draining.done()


async def test_with_no_grace_at_all_the_route_is_still_switched_first():
    clock, routes, first = table()
    first.enter()
    draining = asyncio.create_task(routes.drain("hello", "first", 0))
    await clock.advance(SWITCH_SECONDS / 2)
    assert not draining.done()
    routes.drop("hello")
    await clock.advance(0)
    assert draining.done()
    named = asyncio.create_task(table()[1].drain("hello", "first", 0))
    await asyncio.sleep(0)
    named.cancel()


async def test_draining_leaves_no_listener_behind_however_it_ends():
    clock, routes, _ = table()
    for _ in range(10):
        draining = asyncio.create_task(routes.drain("hello", "first", 5))
        await clock.advance(1)
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
    timing_out = asyncio.create_task(routes.drain("hello", "first", 5))
    await clock.advance(6)
    assert timing_out.done()
    assert routes._listeners == []
