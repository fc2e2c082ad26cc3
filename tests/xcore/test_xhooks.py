"""xhooks: telling never waits and never raises, and whoever listens slowly loses only its own oldest events."""

import asyncio

from xcore.xhooks import HookBus, InstanceExited, ManagerStarting, PluginRemoved, StatusChanged


async def take(subscription, count):
    events = []
    async for event in subscription:
        events.append(event)
        if len(events) == count:
            break
    return events


async def test_a_listener_hears_the_kinds_it_asked_for_in_their_order():
    bus = HookBus()
    with bus.subscribe(PluginRemoved, StatusChanged) as some, bus.subscribe() as everything:
        bus.emit(PluginRemoved(plugin="a"))
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
    with bus.subscribe(PluginRemoved) as subscription:
        waiting = asyncio.create_task(take(subscription, 1))
        await asyncio.sleep(0)
        bus.emit(PluginRemoved(plugin="late"))
        assert [e.plugin for e in await waiting] == ["late"]


async def test_a_slow_listener_loses_its_oldest_events_is_told_how_many_and_touches_nobody_else():
    bus = HookBus()
    with bus.subscribe(size=2) as slow, bus.subscribe() as other:
        for name in "abcde":
            bus.emit(PluginRemoved(plugin=name))
        assert slow.lost == 3
        assert [e.plugin for e in await take(slow, 2)] == ["d", "e"]
        assert other.lost == 0
        assert [e.plugin for e in await take(other, 5)] == list("abcde")


def test_what_is_told_when_nobody_listens_is_gone():
    bus = HookBus()
    with bus.subscribe() as subscription:
        pass
    bus.emit(ManagerStarting())
    assert subscription.lost == 0
    assert not list(bus._subscriptions)


def test_an_event_says_what_kind_it_is_and_when_it_happened():
    event = InstanceExited(plugin="hello", instance="1", reason="Error", exit_code=1, message="", at=5.0)
    assert (event.kind, event.at) == ("InstanceExited", 5.0)
    assert ManagerStarting().at > 1_700_000_000
