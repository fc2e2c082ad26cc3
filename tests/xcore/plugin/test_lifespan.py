"""The lifespan protocol: whatever an application answers, a start either succeeds or says why not."""

import asyncio

import pytest

from xcore.plugin.lifespan import BadLifespan, Lifespan, StartupFailed

COMPLETE = {"type": "lifespan.startup.complete"}
FAILED = {"type": "lifespan.startup.failed", "message": "no database"}


def sending(*messages, after=None):
    """An application that answers its start-up with these, and then raises `after`."""

    async def app(scope, receive, send):
        assert (await receive())["type"] == "lifespan.startup"
        for message in messages:
            await send(message)
        if after is not None:
            raise after
        await receive()

    return app


async def test_a_whole_life():
    """Start-up, shutdown, and what the application keeps for its requests in between."""
    told = []

    async def app(scope, receive, send):
        scope["state"]["made"] = 1
        for word in ("startup", "shutdown"):
            told.append((await receive())["type"])
            await send({"type": f"lifespan.{word}.complete"})
        told.append("over")

    lifespan = Lifespan(app)
    await lifespan.startup()
    assert lifespan.state == {"made": 1}
    assert told == ["lifespan.startup"]
    await lifespan.shutdown()
    await lifespan.shutdown()
    assert told == ["lifespan.startup", "lifespan.shutdown", "over"]


async def raising(scope, receive, send):
    raise AssertionError("http only")


async def returning(scope, receive, send):
    return


@pytest.mark.parametrize("app", [raising, returning])
async def test_an_application_that_knows_no_lifespan_is_started(app):
    """It raises or returns without an answer, as the protocol has it; at its end it is asked nothing."""
    lifespan = Lifespan(app)
    await lifespan.startup()
    await lifespan.shutdown()


@pytest.mark.parametrize(
    ("app", "error", "said"),
    [
        (sending(FAILED), StartupFailed, "no database"),
        (sending({"type": "lifespan.startup.failed"}), StartupFailed, "it gave no reason"),
        (sending(FAILED, after=LookupError("its own")), LookupError, "its own"),
        (sending(after=SystemExit(3)), SystemExit, "3"),
        (sending({"type": "http.response.start"}), BadLifespan, "'http.response.start'.*startup.complete or"),
        (sending("nonsense"), BadLifespan, "'nonsense' in its lifespan"),
        (sending({}), BadLifespan, "None in its lifespan"),
        (sending({"type": "lifespan.shutdown.complete"}), BadLifespan, "lifespan.startup.complete or"),
        (sending(COMPLETE, COMPLETE), BadLifespan, "expected: nothing more"),
    ],
)
async def test_a_start_that_fails_says_why(app, error, said):
    """With the application's own exception where it has one, else with its message, else with what was expected."""
    with pytest.raises(error, match=said):
        await Lifespan(app).startup()


async def test_a_start_that_never_answers_can_be_given_up():
    """The application is cancelled with whoever waits for it."""
    ended = asyncio.Event()

    async def app(scope, receive, send):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(Lifespan(app).startup())
    await asyncio.sleep(0)
    waiting.cancel()
    await ended.wait()


@pytest.mark.parametrize(
    ("answer", "after", "logged"),
    [
        ({"type": "lifespan.shutdown.failed", "message": "busy"}, None, "shutdown failed: busy"),
        ({"type": "lifespan.shutdown.failed"}, LookupError("no"), "the application's lifespan failed"),
        ({"type": "lifespan.shutdown.complete"}, SystemExit(1), "the application's lifespan failed"),
        ({"type": "lifespan.startup.complete"}, None, "the application's lifespan failed"),
    ],
)
async def test_a_shutdown_that_fails_is_logged(answer, after, logged, caplog):
    """Once, and nothing is raised: there is nobody left to tell."""

    async def app(scope, receive, send):
        await receive()
        await send(COMPLETE)
        await receive()
        await send(answer)
        if after is not None:
            raise after

    lifespan = Lifespan(app)
    await lifespan.startup()
    await lifespan.shutdown()
    assert [record.getMessage() for record in caplog.records] == [logged]


async def test_a_lifespan_that_breaks_later_is_logged(caplog):
    """The application lives on; its shutdown has nobody to ask."""
    broken = asyncio.Event()

    async def app(scope, receive, send):
        await receive()
        await send(COMPLETE)
        await broken.wait()
        raise LookupError("later")

    lifespan = Lifespan(app)
    await lifespan.startup()
    broken.set()
    while not caplog.records:
        await asyncio.sleep(0)
    assert caplog.records[0].getMessage() == "the application's lifespan failed"
    await lifespan.shutdown()
