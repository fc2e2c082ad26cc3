"""A mirror of the cluster is never silently old: it goes on from where it was, lists anew when it must, and tells its age."""

import asyncio
import contextlib

import pytest

from tests.support import until
from xcore.clock import SystemClock
from xcore.errors import RuntimeUnavailable
from xcore.runtimes.kubernetes.client import Expired, Refusal
from xcore.runtimes.kubernetes.reflector import (
    REFUSED_SECONDS,
    SILENCE_SECONDS,
    STALE_SECONDS,
    WATCH_SECONDS,
    Reflector,
    Selection,
)


def thing(name, version="1", **more):
    return {
        "metadata": {
            "namespace": "space",
            "name": name,
            "resourceVersion": version,
            "managedFields": [],
            **more,
        }
    }


def event(kind, item):
    return {"type": kind, "object": item}


class Server:
    """Lists what it holds, `later` from the second time on; each watch plays the next script of events, or raises."""

    def __init__(self, *items, scripts=(), later=None):
        self.items, self.scripts, self.later = list(items), list(scripts), later
        self.lists, self.watched = 0, []

    async def list(self, path, query=None, *, slim=False):
        self.lists += 1
        items = self.later if self.later and self.lists > 1 else self.items
        return [dict(item) for item in items], str(self.lists * 100)

    async def watch(self, path, query, *, silence, begun, slim=False):
        self.watched.append((query["resourceVersion"], query["timeoutSeconds"], silence))
        script = self.scripts.pop(0) if self.scripts else [asyncio.Event()]
        if not isinstance(script[0], Exception):
            begun()
        for step in script:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield step


class Impatient(SystemClock):
    """Waits a hundredth of what is asked for."""

    ahead = 0.0

    def time(self):
        return super().time() + self.ahead

    async def wait(self, event, timeout):
        return await super().wait(event, timeout and timeout / 100)


@contextlib.asynccontextmanager
async def mirror(server, told=lambda _item: None, *, clock=None):
    path = "/api/v1/namespaces/space/things"
    reflector = Reflector(server, Selection(path), changed=told, clock=clock or Impatient())
    running = asyncio.create_task(reflector.run())
    try:
        yield reflector
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def names(reflector):
    return sorted(name for _, name in reflector.objects)


async def test_what_is_listed_and_watched_is_mirrored():
    """What is added, changed and deleted is so in the mirror, and told each time."""
    script = [
        event("ADDED", thing("b", "101")),
        event("MODIFIED", thing("a", "102", labels={"x": "y"})),
        event("DELETED", thing("b", "103")),
        event("BOOKMARK", thing("", "150")),
        asyncio.Event(),
    ]
    told = []
    server = Server(thing("a"), scripts=[script])
    async with mirror(server, lambda item: told.append(item["metadata"]["name"])) as reflector:
        await until(lambda: len(told) == 4)
        assert told == ["a", "b", "a", "b"]
        assert names(reflector) == ["a"]
        assert reflector.objects["space", "a"]["metadata"]["labels"] == {"x": "y"}
        assert "managedFields" not in reflector.objects["space", "a"]["metadata"]


async def test_a_watch_that_ends_goes_on_from_the_last_version():
    """Also from a bookmark; nothing is listed again."""
    server = Server(
        thing("a"), scripts=[[event("BOOKMARK", thing("", "150"))], [event("ADDED", thing("b", "151"))]]
    )
    async with mirror(server) as reflector:
        await until(lambda: len(server.watched) == 3)
        assert [version for version, _, _ in server.watched] == ["100", "150", "151"]
        assert (server.lists, names(reflector)) == (1, ["a", "b"])


async def test_a_version_too_old_lists_anew():
    """Whatever happened meanwhile is found, what is gone is told as well."""
    told = []
    later = [thing("a"), thing("new")]
    server = Server(thing("a"), thing("gone"), scripts=[[Expired()]], later=later)
    async with mirror(server, lambda item: told.append(item["metadata"]["name"])) as reflector:
        await until(lambda: len(server.watched) == 2)
        assert names(reflector) == ["a", "new"]
        assert set(told[2:]) == {"a", "gone", "new"}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeUnavailable("cut"), "cut"),
        (Refusal(403, "user x may not"), "not allowed to read things in the namespace space"),
        (Refusal(404, "not found"), "the API server knows no things"),
    ],
)
async def test_while_the_server_is_away_the_last_that_was_known_stands(error, says):
    """The reason is told as long as it lasts, in words that name no account."""
    server = Server(thing("a"), scripts=[[error]] * 3)
    async with mirror(server) as reflector:
        await until(lambda: reflector.failure.startswith(says))
        assert names(reflector) == ["a"]
        await until(lambda: len(server.watched) > 3)
        assert "user x" not in reflector.failure


@pytest.mark.parametrize(
    ("error", "seconds"), [(Refusal(403, "no"), REFUSED_SECONDS), (RuntimeUnavailable("cut"), STALE_SECONDS)]
)
async def test_what_lasts_is_told_as_trouble_and_a_hiccup_is_not(error, seconds):
    """A refusal soon, for it does not end by itself; silence once it is longer than any watch; over when it is heard."""
    clock, heard = Impatient(), asyncio.Event()
    server = Server(
        thing("a"), scripts=[[error]] * 9 + [[heard, event("ADDED", thing("b"))], [asyncio.Event()]]
    )
    async with mirror(server, clock=clock) as reflector:
        await until(lambda: reflector.failure)
        assert reflector.trouble == ""
        clock.ahead += seconds
        assert reflector.trouble == reflector.failure != ""
        await until(lambda: len(server.watched) == 10)
        heard.set()
        await until(lambda: reflector.trouble == "")


async def test_a_watch_that_begins_is_word_of_the_server_though_nothing_happens():
    """After a silence nobody is told for another minute that the server is away."""
    clock = Impatient()
    server = Server(thing("a"), scripts=[[RuntimeUnavailable("cut")] for _ in range(9)])
    async with mirror(server, clock=clock) as reflector:
        await until(lambda: reflector.failure)
        clock.ahead += STALE_SECONDS
        assert reflector.trouble == "cut"
        await until(lambda: len(server.watched) == 10)
        assert reflector.trouble == ""


async def test_silence_is_noticed_because_the_server_is_to_end_every_watch_before():
    """A stall is noticed within 70 s: that is how long a watch may be silent, and the server ends it sooner."""
    server = Server(thing("a"))
    async with mirror(server):
        await until(lambda: server.watched)
        ((_, seconds, silence),) = server.watched
    assert (seconds, silence) == (WATCH_SECONDS, SILENCE_SECONDS)
    assert seconds < silence <= 70
