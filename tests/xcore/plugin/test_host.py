"""Hosting one plugin: its hooks, its probes, and what is never made a plugin."""

import asyncio
import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from xcore.plugin import Context, Plugin, action
from xcore.plugin.host import Host, Spec, make_context, resolve
from xcore.plugin.testing import Client, serve
from xcore.plugin.threads import ActionThreads


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def host_of(hosted: type[Plugin] = Plugin, **options: Any) -> Host:
    return Host(hosted, Context("p", "1", {"a": 1}), **options)


class Quiet(Plugin):
    @action(name="ready")
    async def not_the_probe(self) -> str:
        return "an action"


async def test_probes_lie_outside_the_plugins_paths():
    """An action named `ready` never meets the probe, nor does a plugin whose name begins with this one's."""
    async with serve(Quiet, name="p") as client:
        assert await client.fetch("/ready") == (200, b"ok\n")
        assert await client.call("ready") == (200, "an action")
        assert await client.fetch("/startup") == (200, b"ok\n")
        assert await client.fetch("/live") == (200, b"ok\n")
        assert (await client.fetch("/describe")).body["name"] == "p"
        assert (await client.fetch("/app/p")).body["name"] == "p"
        assert await client.fetch("/app/pp/ready") == (404, b"not found\n")
        assert await client.fetch("/other") == (404, b"not found\n")


@pytest.mark.parametrize(("path", "kinds"), [("/app/p/x", "http.response"), ("/other", "close")])
async def test_a_websocket_to_an_action_is_declined(path, kinds):
    """Its opening handshake is answered with a problem; outside the plugin's paths it is closed."""
    sent = []

    async def send(message):
        sent.append(message)

    await host_of()({"type": "websocket", "path": path, "headers": []}, None, send)

    assert all(message["type"].startswith(f"websocket.{kinds}") for message in sent)
    assert sent[0].get("status", 400) == 400


async def test_an_offer_to_become_a_websocket_is_declined():
    """Where the server does not know WebSockets the action is asked with GET, and is not called."""

    class Safe(Plugin):
        @action(safe=True)
        async def x(self) -> None:
            raise AssertionError

    async with serve(Safe) as client:
        offer = {"connection": "upgrade", "upgrade": "WebSocket"}
        status, body = await client.request("GET", "x", headers=offer)
    assert (status, body["reason"]) == (400, "MalformedRequest")
    assert "no WebSocket" in body["detail"]


class Hooked(Plugin):
    """Tells the order of things; hooks as coroutines."""

    def __init__(self) -> None:
        self.seen = [f"init {self.context.name} {self.context.config['a']}"]

    async def startup(self) -> None:
        self.seen.append("startup")

    async def shutdown(self) -> None:
        self.seen.append("shutdown")


class SyncHooked(Hooked):
    def startup(self) -> None:  # type: ignore[override]
        self.seen.append("startup")
        assert threading.current_thread() is not threading.main_thread()

    def shutdown(self) -> None:  # type: ignore[override]
        self.seen.append("shutdown")

    def health(self) -> bool:  # type: ignore[override]
        return True


class LambdaHooked(Hooked):
    def startup(self):  # a plain method that gives a coroutine
        return super().startup()


@pytest.mark.parametrize("hosted", [Hooked, SyncHooked, LambdaHooked])
async def test_hooks_run_once_in_their_order(hosted):
    """`__init__` has the context, `startup` comes before readiness, `shutdown` last; sync ones in a thread."""
    host = host_of(hosted)
    client = Client(host)
    assert await client.fetch("/startup") == (503, b"starting\n")
    assert await client.fetch("/ready") == (503, b"not ready\n")

    await host.start()
    assert await client.fetch("/startup") == (200, b"ok\n")
    assert await client.fetch("/ready") == (200, b"ok\n")
    await host.stop()
    await host.stop()

    assert host.hosted.plugin.seen == ["init p 1", "startup", "shutdown"]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), asyncio.CancelledError()])
@pytest.mark.parametrize("sync", [False, True])
async def test_what_startup_raises_is_raised_as_it_is(error, sync):
    """With its own cause and context; the plugin is not started, and `shutdown` will not run."""

    class Bad(Hooked):
        async def startup(self) -> None:
            raise error from OSError("why")

        if sync:

            def startup(self) -> None:  # type: ignore[no-redef]
                raise error from OSError("why")

    host = host_of(Bad)
    with pytest.raises(type(error)) as caught:
        await host.start()
    await host.stop()

    assert caught.value is error
    assert isinstance(error.__cause__, OSError)
    assert host.hosted.plugin.seen == ["init p 1"]
    assert not host.started


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
async def test_hooks_that_raise_are_logged(error, caplog):
    """A raising `health` is not ready, a raising `shutdown` ends all the same."""

    class Bad(Plugin):
        async def health(self) -> bool:
            raise error

        async def shutdown(self) -> None:
            raise error

    async with serve(Bad) as client:
        assert await client.fetch("/ready") == (503, b"not ready\n")

    assert [record.getMessage() for record in caplog.records] == ["health failed", "shutdown failed"]


@pytest.mark.parametrize(("answer", "status"), [(True, 200), (False, 503), (None, 200), ({"ok": 1}, 200)])
async def test_health_says_no_only_with_false(answer, status):
    """A `health` that forgets to return has found nothing wrong."""

    class Told(Plugin):
        async def health(self):
            return answer

    async with serve(Told) as client:
        assert (await client.fetch("/ready")).status == status


async def test_a_health_that_hangs_is_asked_once():
    """Probes wait for the same check instead of piling up, and giving one up does not end the check."""
    asked = asyncio.Event()
    answer = asyncio.Event()
    calls = []

    class Hanging(Plugin):
        async def health(self) -> bool:
            calls.append(1)
            asked.set()
            await answer.wait()
            return True

    async with serve(Hanging) as client:
        first, second = (asyncio.create_task(client.fetch("/ready")) for _ in range(2))
        await asked.wait()
        first.cancel()
        answer.set()
        assert (await second).status == 200
        assert len(calls) == 1
        answer.clear()
        asked.clear()
        last = asyncio.create_task(client.fetch("/ready"))
        await asked.wait()
    with pytest.raises(asyncio.CancelledError):  # nobody is left to answer
        await last


async def test_live_fails_when_an_action_outlives_its_deadline():
    """Ten seconds past it, by the injected clock; and is well again when the action ends."""
    clock, running, release = Clock(), threading.Event(), threading.Event()

    class Stuck(Plugin):
        @action
        def hang(self) -> None:
            running.set()
            release.wait()

    host = host_of(Stuck, threads=ActionThreads(clock=clock))
    await host.start()
    client = Client(host)
    call = asyncio.create_task(client.request("POST", "hang", headers={"xcore-deadline-seconds": "2"}))
    await asyncio.to_thread(running.wait)

    clock.now = 12.0
    assert await client.fetch("/live") == (200, b"ok\n")
    clock.now = 12.1
    assert await client.fetch("/live") == (503, b"a sync action does not end\n")
    release.set()
    assert (await call).status == 200
    assert await client.fetch("/live") == (200, b"ok\n")
    await host.stop()


def module(**members: Any) -> Any:
    return lambda _: SimpleNamespace(**members)


class AsgiObject:
    async def __call__(self, scope, receive, send): ...


class AsgiClass:
    """Called with the three, it gives something to await."""

    def __init__(self, scope, receive, send): ...

    def __await__(self):
        return iter(())


async def asgi_function(scope, receive, send): ...


def make_app(): ...


class Wsgi:
    def __call__(self, environ, start_response): ...


@pytest.mark.parametrize("found", [Hooked, AsgiObject(), AsgiClass, asgi_function])
def test_an_entry_point_is_a_class_of_plugin_or_an_application(found):
    """An application is whatever can be called with scope, receive and send, and gives something to await."""
    assert resolve("main:it", module(it=found)) is found


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (None, "main:it is not there"),
        (Plugin, "main:it is the class Plugin"),
        (dict, "main:it is the class dict"),
        (Quiet.__new__(Quiet), "main:it is an object of Quiet"),
        (Wsgi(), "main:it is an object of Wsgi"),
        (make_app, "an application that a function makes is named after it is made"),
        (AsgiObject, "main:it is the class AsgiObject"),
        ("text", "main:it is an object of str"),
    ],
)
def test_an_entry_point_that_is_neither_is_refused(found, named):
    """By name, with what it is and what is allowed."""
    with pytest.raises(TypeError) as caught:
        resolve("main:it", module(it=found))
    assert named in str(caught.value)
    assert "derived from xcore.plugin.Plugin nor an ASGI application" in str(caught.value)


def test_a_context_knows_who_the_plugin_is():
    """Name, version, config, secrets and a logger of its own."""
    context = make_context(Spec("p", "main:P", "2", {"a": 1}), {"db/token": b"s", "db/blob": b"\xff"})

    assert (context.name, context.version, context.config, context.secrets) == (
        "p",
        "2",
        {"a": 1},
        {"db/token": "s"},
    )
    assert context.logger is logging.getLogger("plugin.p")
    assert "'s'" not in repr(context)


def test_what_init_raises_is_raised():
    """A plugin that cannot be made is not hosted."""

    class Bad(Plugin):
        def __init__(self) -> None:
            raise LookupError("no")

    with pytest.raises(LookupError):
        host_of(Bad)
