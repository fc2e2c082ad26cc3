"""Threads of sync actions: bounded, watched, and in nobody's way at the end."""

import asyncio
import contextvars
import gc
import threading
import weakref

import pytest

from xcore.plugin.contained import Contained, PluginFailed
from xcore.plugin.threads import ActionThreads

variable = contextvars.ContextVar("variable", default="")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """A call that waits until it is let through."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        self.open.wait()
        return threading.current_thread().name


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_it_returns_what_the_function_returns_with_its_context():
    """In a thread, with the caller's context variables."""
    threads = ActionThreads()
    variable.set("caller")

    assert await threads.run(lambda: (variable.get(), threading.current_thread().name), 1) == (
        "caller",
        "action-0",
    )
    threads.close()


@pytest.mark.parametrize("error", [ValueError(), StopIteration(), SystemExit(), asyncio.CancelledError()])
async def test_what_the_function_raises_is_the_cause(error):
    """Whatever it is, even what no future may hold."""
    threads = ActionThreads(1)

    def fail() -> None:
        raise error

    with pytest.raises(PluginFailed) as caught:
        await threads.run(fail, 1)
    assert caught.value.__cause__ is error
    assert await threads.run(lambda: 1, 1) == 1  # the thread lives on
    threads.close()


async def test_never_more_threads_than_its_size():
    """What is too much waits its turn; an idle thread is used again."""
    threads, gates = ActionThreads(2), [Gate() for _ in range(4)]
    calls = [asyncio.create_task(threads.run(gate, 60)) for gate in gates]
    await asyncio.to_thread(gates[1].begun.wait)
    assert not gates[2].begun.is_set()
    for gate in gates:
        gate.open.set()

    names = await asyncio.gather(*calls)

    assert set(names) == {"action-0", "action-1"}
    threads.close()


async def test_a_call_queued_past_its_deadline_is_never_started():
    """Nobody waits for it any more; and a queue that does not move makes the process stuck."""
    clock, gate = Clock(), Gate()
    threads = ActionThreads(1, clock=clock)
    first = asyncio.create_task(threads.run(gate, 1000))
    await asyncio.to_thread(gate.begun.wait)
    started = []
    queued = asyncio.create_task(threads.run(lambda: started.append(1), 5))
    await asyncio.sleep(0)
    clock.now = 15.0
    assert not threads.stuck()
    clock.now = 15.1
    assert threads.stuck()

    gate.open.set()
    await first
    with pytest.raises(PluginFailed) as caught:
        await queued

    assert isinstance(caught.value.__cause__, TimeoutError)
    assert started == []
    assert not threads.stuck()
    threads.close()


async def test_a_cancelled_caller_leaves_a_running_call_and_drops_a_queued_one():
    """The running one is still watched: it still holds its thread."""
    clock, gate, started = Clock(), Gate(), []
    threads = ActionThreads(1, clock=clock)
    running = asyncio.create_task(threads.run(gate, 1))
    await asyncio.to_thread(gate.begun.wait)
    queued = asyncio.create_task(threads.run(lambda: started.append(1), 1))
    await asyncio.sleep(0)
    running.cancel()
    queued.cancel()
    await asyncio.wait({running, queued})

    clock.now = 12.0
    assert threads.stuck()
    gate.open.set()
    await until(lambda: not threads.stuck())
    assert started == []
    threads.close()


async def test_close_drops_what_is_queued_and_lets_idle_threads_end():
    """A busy thread is left alone, and it is a daemon: the process can end without it."""
    gate = Gate()
    threads = ActionThreads(1)
    running = asyncio.create_task(threads.run(gate, 1))
    await asyncio.to_thread(gate.begun.wait)
    queued = asyncio.create_task(threads.run(lambda: None, 1))
    await asyncio.sleep(0)
    threads.close()

    with pytest.raises(asyncio.CancelledError):
        await queued
    (thread,) = threads._threads
    assert thread.daemon
    gate.open.set()
    await running
    await asyncio.to_thread(thread.join)


async def test_without_any_thread_the_call_fails(monkeypatch):
    """A pids limit hit by the plugin is the plugin's failure; with a thread there, calls queue for it."""
    threads, gate = ActionThreads(2), Gate()

    def no_more(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        with pytest.raises(PluginFailed):
            await threads.run(lambda: 1, 1)
        assert not threads._calls
    first = asyncio.create_task(threads.run(gate, 60))
    await asyncio.to_thread(gate.begun.wait)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        second = asyncio.create_task(threads.run(lambda: 2, 60))
        await asyncio.sleep(0)
    gate.open.set()
    await first
    assert await second == 2
    threads.close()


async def test_an_idle_thread_holds_nobodys_arguments():
    """What a call was given can be collected as soon as it is over."""
    threads = ActionThreads(1)

    class Big:
        def __call__(self) -> None:
            pass

    big = Big()
    gone = weakref.ref(big)
    await threads.run(big, 1)
    del big

    def collected() -> bool:
        gc.collect()
        return gone() is None

    await until(collected)
    threads.close()


def test_a_loop_that_is_gone_is_nobodys_exception(recwarn):
    """A call that ends after its loop ends quietly."""
    gate, loop = Gate(), asyncio.new_event_loop()
    threads = ActionThreads(1)

    async def begin():
        task = asyncio.create_task(threads.run(gate, 1))
        await asyncio.to_thread(gate.begun.wait)
        task.cancel()

    loop.run_until_complete(begin())
    loop.close()
    gate.open.set()
    threads.close()
    threads._threads[0].join()

    assert not threads._calls


async def test_a_coroutine_that_is_closed_is_closed():
    """GeneratorExit from outside passes the wall: it is how coroutines end."""

    async def guarded():
        with Contained():
            await asyncio.Event().wait()

    coroutine = guarded()
    task = asyncio.create_task(asyncio.Event().wait())
    coroutine.send(None)
    # Closed by somebody else's task.
    await asyncio.create_task(_close(coroutine))
    task.cancel()


async def _close(coroutine) -> None:
    coroutine.close()


def test_known_exceptions_pass_the_wall():
    """What the host raises itself is not mistaken for the plugin's."""
    with pytest.raises(LookupError), Contained(LookupError):
        raise KeyError
    with pytest.raises(PluginFailed), Contained(LookupError):
        raise ValueError
