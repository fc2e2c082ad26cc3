"""xhooks: telling never waits and never raises, and whoever listens slowly loses only its own oldest events."""

import asyncio
import random
import sys
import threading
import time
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from xcore import xhooks
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
    assert bus._subscriptions == ()


# -- threads -------------------------------------------------------------------------------------------------------


def test_a_listener_on_a_loop_of_its_own_is_woken_there():
    bus, heard, waits = HookBus(), [], threading.Event()

    async def listen():
        with bus.subscribe(PluginRemoved, name="a") as events:
            asyncio.get_running_loop().call_soon(waits.set)
            heard.extend((event.plugin, threading.current_thread().name) for event in await take(events, 1))

    thread = threading.Thread(target=asyncio.run, args=(listen(),), name="elsewhere")
    thread.start()
    waits.wait(5)
    bus.emit(gone("late"))
    thread.join(5)
    assert heard == [("late", "elsewhere")]


def test_telling_a_listener_whose_loop_is_closed_raises_nothing():
    """Its thread has ended and it did not leave: what it is told overflows and is counted, as for whoever never reads."""
    bus = HookBus()
    with bus.subscribe(name="a", size=1) as events:
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(events.batch(1))
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.call_soon(waiting.cancel)
        ended = threading.Thread(target=loop.close)
        loop.run_until_complete(asyncio.wait({waiting}))
        ended.start()
        ended.join()
        told = threading.Thread(target=lambda: [bus.emit(gone(name)) for name in "abc"])
        told.start()
        told.join()
        assert bus.lost == {"a": 2}


def test_a_loop_that_is_blocked_is_woken_once_however_much_it_is_told():
    """Else every event would leave something behind in it, for ever."""
    bus, blocks, goes_on, woken = HookBus(), threading.Event(), threading.Event(), []

    async def listen():
        loop = asyncio.get_running_loop()
        with bus.subscribe(name="a", size=10) as events:
            waiting = asyncio.create_task(events.batch(10))
            await asyncio.sleep(0)
            loop.call_soon_threadsafe, real = (
                lambda call, *args: woken.append(call),
                loop.call_soon_threadsafe,
            )
            blocks.set()
            goes_on.wait(5)
            real(woken[0])
            return [event.plugin for event in await waiting]

    def run():
        heard.extend(asyncio.run(listen()))

    heard = []
    thread = threading.Thread(target=run)
    thread.start()
    blocks.wait(5)
    for name in "abc":
        bus.emit(gone(name))
    goes_on.set()
    thread.join(5)
    assert (heard, len(woken)) == (["a", "b", "c"], 1)


@contextmanager
def interrupted():
    """Other threads have their turn in the middle of what xhooks does in this one, after one line in four."""
    dice, usual = random.Random(0), sys.gettrace()

    def step(frame, kind, _):
        if frame.f_code.co_filename != xhooks.__file__:
            return None
        if kind == "line" and dice.random() < 0.25:
            time.sleep(1e-6)
        return step

    sys.settrace(step)
    try:
        yield
    finally:
        sys.settrace(usual)


class Listener:
    """On a thread and loop of its own; goes and comes again after so many events, until it is told to end."""

    def __init__(self, bus, name, size, stay):
        self.bus, self.name, self.size, self.stay = bus, name, size, stay
        self.stays = []  # of each: the subscription, and the numbers it gave
        self.over, self.ready = False, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        with interrupted():
            asyncio.run(self.listen())

    async def listen(self):
        while not self.over:
            with self.bus.subscribe(PluginRemoved, name=self.name, size=self.size) as events:
                self.stays.append((events, []))
                self.ready.set()
                while (len(self.stays[-1][1]) < self.stay) and (batch := await events.batch(3)):
                    self.stays[-1][1].extend(int(event.plugin) for event in batch)
            events.end()  # what had come up is given still
            while batch := await events.batch(3):
                self.stays[-1][1].extend(int(event.plugin) for event in batch)

    def end(self):
        self.over = True
        while self.thread.is_alive():
            self.stays[-1][0].end()
            self.thread.join(0.001)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 8), st.sampled_from([1, 5, 10**9])), min_size=1, max_size=4),
    st.integers(0, 100),
)
def test_whatever_comes_and_goes_every_event_is_given_in_order_or_counted_as_lost(kinds, count):
    """Listeners on threads of their own subscribe, read, and leave, while events are told; telling never raises."""
    bus = HookBus()
    listeners = [Listener(bus, str(n), size, stay) for n, (size, stay) in enumerate(kinds)]
    for listener in listeners:
        listener.thread.start()
    for listener in listeners:
        listener.ready.wait(10)
    with interrupted():
        for number in range(count):
            bus.emit(gone(str(number)))
    for listener in listeners:
        listener.end()
    for listener in listeners:
        for events, heard in listener.stays:
            assert heard == sorted(set(heard))
            assert sum(after - before - 1 for before, after in pairwise(heard)) <= events.lost
        lost = sum(events.lost for events, _ in listener.stays)
        assert bus.lost[listener.name] == lost
        if listener.stay > count:
            assert sum(len(heard) for _, heard in listener.stays) + lost == count
    assert bus._subscriptions == ()
