"""What the controller asks of a plugin by itself takes the way of every request."""

import asyncio

import pytest

from controller.dataplane.inner import InnerCalls
from integrations.tasks.calling import MAX_ANSWER, Sent
from tests.controller.dataplane.support import canned, ok
from tests.support import until

TIDY = Sent("POST", "/app/hello/tidy", (("content-type", "application/json"),), b'{"all": true}')


async def silent(visit, upstream):
    upstream.journal.append(await visit.request())
    await visit.reader.read()


@pytest.fixture
def inner(locked):
    return InnerCalls(locked.plane)


async def test_it_reaches_the_plugin_without_a_key_of_anybody(locked, inner):
    upstream = await locked.upstream()
    told = await inner(TIDY, 10)
    assert (told.status, told.body, told.reason) == (200, b"ok", "")
    (request,) = upstream.journal
    assert request.start == "POST /app/hello/tidy HTTP/1.1"
    assert request.body == TIDY.body
    assert not request.all("authorization")


async def test_the_plugin_is_told_its_deadline(locked, inner):
    upstream = await locked.upstream()
    await inner(TIDY, 123)
    assert upstream.journal[0]["xcore-deadline-seconds"] == "123"


async def test_an_answer_in_pieces_is_put_together(locked, inner):
    await locked.upstream(
        canned(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
    )
    assert (await inner(TIDY, 10)).body == b"abc"


async def test_an_answer_without_a_body_is_one(locked, inner):
    await locked.upstream(canned(b"HTTP/1.1 204 No Content\r\n\r\n"))
    assert (await inner(TIDY, 10)).status == 204


async def test_of_an_endless_answer_the_beginning_is_kept(locked, inner):
    await locked.upstream(canned(ok(b"x" * (MAX_ANSWER + 70_000))))
    told = await inner(TIDY, 10)
    assert (len(told.body), told.cut) == (MAX_ANSWER, True)


async def test_a_plugin_cannot_forge_an_error_of_ours(locked, inner):
    forged = ok(b"no", extra=b"xcore-reason: PluginNotFound\r\n", status=b"404 Not Found")
    await locked.upstream(canned(forged))
    told = await inner(TIDY, 10)
    assert (told.status, told.reason, told.failure) == (
        404,
        "",
        ("ActionFailed", "the plugin answered 404"),
    )


async def test_what_is_wrong_on_the_way_is_told_with_its_reason(locked, inner):
    told = await inner(TIDY, 10)
    assert told.failure == ("PluginNotFound", "there is no plugin 'hello'")
    assert told.final


async def test_a_plugin_that_never_answers_is_given_up_at_the_deadline(locked, inner):
    upstream = await locked.upstream(silent)
    told = await inner(TIDY, 0.3)
    assert told.status == 504
    assert not told.final
    await until(lambda: upstream.open == 0)  # its client has gone


async def test_an_answer_that_breaks_off_is_no_answer(locked, inner):
    await locked.upstream(
        canned(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", then_close=True),
    )
    assert (await inner(TIDY, 10)).reason == "UpstreamUnreachable"


async def test_whoever_stops_waiting_lets_go_of_the_plugin(locked, inner):
    upstream = await locked.upstream(silent)
    waiting = asyncio.create_task(inner(TIDY, 100))
    await until(lambda: upstream.journal)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await until(lambda: upstream.open == 0)
    assert locked.plane.active == set()


async def test_the_limits_of_the_plugin_hold(locked, inner):
    """A full plugin refuses the controller as it refuses everybody."""

    await locked.upstream(silent, traffic={"maxConcurrentRequests": 1, "queue": {"maxLength": 0}})
    first = asyncio.create_task(inner(TIDY, 100))
    await until(lambda: locked.plane.bulkheads["hello"].active == 1)
    assert (await inner(TIDY, 10)).reason == "QueueFull"
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
