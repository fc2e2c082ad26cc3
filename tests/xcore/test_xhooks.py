"""xhooks: telling never waits and never raises, and whoever listens slowly loses only its own oldest events."""

import asyncio

import pytest

from xcore.errors import XcoreError
from xcore.xhooks import (
    LISTENERS,
    LONGEST_QUEUE,
    HookBus,
    InstanceExited,
    ManagerStarting,
    PluginRemoved,
    StatusChanged,
)


def gone(name):
    return PluginRemoved(plugin=name, before=None)


async def take(subscription, count):
    events = []
    async for event in subscription:
        events.append(event)
        if len(events) == count:
            break
    return events


async def test_a_listener_hears_the_kinds_it_asked_for_in_their_order():
    bus = HookBus()
    with bus.subscribe(PluginRemoved, StatusChanged, name="a") as some, bus.subscribe(name="b") as everything:
        bus.emit(gone("a"))
        bus.emit(ManagerStarting())
        bus.emit(StatusChanged(plugin="b", before=None, after={}))
        assert [e.kind for e in await take(some, 2)] == ["PluginRemoved", "StatusChanged"]
        assert [e.kind for e in await take(everything, 3)] == [
            "PluginRemoved",
            "ManagerStarting",
            "StatusChanged",
        ]


async def test_a_listener_that_waits_is_woken():
    bus = HookBus()
    with bus.subscribe(PluginRemoved, name="a") as subscription:
        waiting = asyncio.create_task(take(subscription, 1))
        await asyncio.sleep(0)
        bus.emit(gone("late"))
        assert [e.plugin for e in await waiting] == ["late"]


async def test_a_slow_listener_loses_its_oldest_events_is_told_how_many_and_touches_nobody_else():
    bus = HookBus()
    with bus.subscribe(name="slow", size=2) as slow, bus.subscribe(name="other") as other:
        for name in "abcde":
            bus.emit(gone(name))
        assert slow.lost == 3
        assert [e.plugin for e in await take(slow, 2)] == ["d", "e"]
        assert other.lost == 0
        assert bus.lost == {"slow": 3, "other": 0}
        assert [e.plugin for e in await take(other, 5)] == list("abcde")


def test_what_is_told_when_nobody_listens_is_gone():
    bus = HookBus()
    with bus.subscribe(name="a") as subscription:
        pass
    bus.emit(ManagerStarting())
    assert subscription.lost == 0
    assert not list(bus._subscriptions)


def test_an_event_says_what_kind_it_is_and_when_it_happened():
    event = InstanceExited(plugin="hello", instance="1", reason="Error", exit_code=1, message="", at=5.0)
    assert (event.kind, event.at) == ("InstanceExited", 5.0)
    assert ManagerStarting().at > 1_700_000_000


async def test_what_has_come_up_is_taken_at_once_and_no_more_than_was_asked_for():
    bus = HookBus()
    with bus.subscribe(name="a") as subscription:
        for name in "abc":
            bus.emit(gone(name))
        assert [e.plugin for e in await subscription.batch(2)] == ["a", "b"]
        assert [e.plugin for e in await subscription.batch(2)] == ["c"]
        waiting = asyncio.create_task(subscription.batch(2))
        await asyncio.sleep(0)
        assert not waiting.done()
        bus.emit(gone("d"))
        assert [e.plugin for e in await waiting] == ["d"]


def test_what_was_lost_stays_counted_when_the_listener_has_left():
    bus = HookBus()
    for _ in range(2):
        with bus.subscribe(name="brief", size=1):
            bus.emit(gone("a"))
            bus.emit(gone("b"))
    assert bus.lost["brief"] == 2


@pytest.mark.parametrize(
    ("kinds", "size", "error"),
    [
        (["StatusChanged"], 1, TypeError),
        ([int], 1, TypeError),
        ([], 0, ValueError),
        ([], LONGEST_QUEUE + 1, ValueError),
    ],
)
def test_a_listener_that_asks_for_nonsense_is_refused_before_anything_is_told_to_it(kinds, size, error):
    bus = HookBus()
    with pytest.raises(error, match="odd"), bus.subscribe(*kinds, name="odd", size=size):
        pass
    bus.emit(gone("a"))


async def test_listeners_that_are_forgotten_are_bounded_and_the_engine_tells_on():
    """Whoever leaks subscriptions is refused more of them; telling goes on, and so do the others."""
    bus = HookBus()
    with bus.subscribe(name="good") as good:
        leaked = [bus.subscribe(name="leak") for _ in range(LISTENERS)]
        for subscription in leaked[:-1]:
            subscription.__enter__()
        with pytest.raises(XcoreError, match="leak cannot listen"):
            leaked[-1].__enter__()
        bus.emit(gone("a"))
        assert [e.plugin for e in await take(good, 1)] == ["a"]


async def test_a_listener_that_raises_leaves_the_bus_and_the_others_hear_on():
    bus = HookBus()

    async def raising():
        with bus.subscribe(name="raising") as events:
            async for event in events:
                raise ValueError(event.plugin)

    failing = asyncio.create_task(raising())
    await asyncio.sleep(0)
    with bus.subscribe(name="good") as good:
        bus.emit(gone("a"))
        with pytest.raises(ValueError, match="a"):
            await failing
        bus.emit(gone("b"))
        assert [e.plugin for e in await take(good, 2)] == ["a", "b"]
    assert bus._subscriptions == []
