"""Actions over ASGI: methods, names, and failures that stay one request's answer."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

import pytest

from xcore.plugin import Plugin, action
from xcore.plugin.app import DEFAULT_DEADLINE, _deadline
from xcore.plugin.testing import serve

RAISED = [
    ValueError("x"),
    SystemExit(3),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    StopIteration(1),
    StopAsyncIteration(),
    GeneratorExit(),
    RecursionError(),
    MemoryError(),
    BaseExceptionGroup("many", [SystemExit(1)]),
    type("Odd", (BaseException,), {"__str__": lambda _: 1 / 0})(),
]


def decorated(method):
    @functools.wraps(method)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await method(*args, **kwargs)

    return wrapper


class Failing(Plugin):
    @action
    async def in_the_loop(self, which: int) -> None:
        raise RAISED[which]

    @action
    def in_a_thread(self, which: int) -> None:
        raise RAISED[which]

    @action
    async def of_a_child(self) -> None:
        child = asyncio.ensure_future(asyncio.Event().wait())
        child.cancel()
        await child

    @action
    async def timed(self) -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "late"
        return "never"

    @action(safe=True)
    async def fine(self) -> str:
        return "fine"

    @action(name="other-name")
    @decorated
    async def wrapped(self, n: int = 1) -> int:
        return n

    def plain(self) -> str:
        return "not an action"


@pytest.fixture
async def client():
    async with serve(Failing, name="failing") as client:
        yield client


@pytest.mark.parametrize("name", ["in_the_loop", "in_a_thread"])
@pytest.mark.parametrize("which", range(len(RAISED)))
async def test_whatever_an_action_raises_is_its_requests_answer(client, name, which, caplog):
    """500 ActionFailed without a stack; the traceback is in the log; the next request is served."""
    status, body = await asyncio.wait_for(
        client.request("POST", name, body=b'{"which": %d}' % which, headers={"X-Request-ID": "r1"}), 5
    )

    assert (status, body["reason"], body["component"], body["requestId"]) == (
        500,
        "ActionFailed",
        "plugin",
        "r1",
    )
    assert body["detail"] == f"the action {name} raised an exception; its traceback is in the plugin's logs"
    record = caplog.records[-1]
    assert (record.levelno, record.requestId) == (logging.ERROR, "r1")
    assert record.exc_info[1] is not None
    assert await client.call("fine") == (200, "fine")


async def test_a_cancelled_child_of_the_plugins_own_is_no_cancellation_of_ours(client):
    """CancelledError out of an awaited task of the plugin fails the action, as any error does."""
    assert (await client.call("of_a_child")).status == 500
    assert await client.call("timed") == (200, "late")


async def test_a_cancelled_request_is_cancelled():
    """The host's own wish to stop passes through the wall."""
    begun = asyncio.Event()

    class Waiting(Plugin):
        @action
        async def wait(self) -> None:
            begun.set()
            await asyncio.Event().wait()

    async with serve(Waiting) as client:
        task = asyncio.create_task(client.call("wait"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "fine", 200, None),
        ("HEAD", "fine", 200, None),
        ("POST", "fine", 200, None),
        ("PUT", "fine", 405, "GET, HEAD, POST"),
        ("GET", "in_the_loop", 405, "POST"),
        ("OPTIONS", "in_the_loop", 405, "POST"),
        ("GET", "", 200, None),
        ("HEAD", "", 200, None),
        ("POST", "", 405, "GET, HEAD"),
        ("POST", "plain", 404, None),
        ("POST", "wrapped", 404, None),
        ("POST", "other-name", 200, None),
        ("POST", "fine/", 404, None),
        ("POST", "__init__", 404, None),
        ("POST", "startup", 404, None),
        ("GET", "é\n", 404, None),
    ],
)
async def test_methods_and_names(client, method, path, status, allow):
    """Only marked methods are reachable, and only by the methods they answer."""
    assert (await client.request(method, path)).status == status
    assert client.headers.get("allow") == allow


async def test_errors_are_problems(client):
    """RFC 9457, with our reason and component."""
    _, body = await client.request("POST", "nothing", headers={"x-request-id": "abc"})

    assert client.headers["content-type"] == "application/problem+json"
    assert body == {
        "type": "about:blank",
        "title": "Action not found",
        "status": 404,
        "detail": "there is no action 'nothing'",
        "component": "client",
        "reason": "ActionNotFound",
        "requestId": "abc",
    }


async def test_the_body_may_come_in_pieces_or_not_at_all(client):
    """Pieces are joined; a caller that leaves halfway gets no answer and does no harm."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/app/failing/other-name",
        "query_string": b"",
        "headers": [],
    }
    sent: list[Any] = []

    async def collect(message):
        sent.append(message)

    def source(*messages):
        left = list(messages)

        async def receive():
            return left.pop(0)

        return receive

    pieces = [
        {"type": "http.request", "body": b'{"n"', "more_body": True},
        {"type": "http.request", "more_body": True},
        {"type": "http.request", "body": b":7}"},
    ]
    await client.host(scope, source(*pieces), collect)
    assert sent[1]["body"] == b"7"

    sent.clear()
    await client.host(scope, source(pieces[0], {"type": "http.disconnect"}), collect)
    assert sent == []


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (b"5", 5.0),
        (b"0.5", 0.5),
        (b"", DEFAULT_DEADLINE),
        (b"x", DEFAULT_DEADLINE),
        (b"nan", DEFAULT_DEADLINE),
        (b"inf", DEFAULT_DEADLINE),
        (b"-1", DEFAULT_DEADLINE),
        (b"0", DEFAULT_DEADLINE),
    ],
)
def test_a_deadline_is_always_a_sensible_number(given, seconds):
    """Whatever the header says, the liveness probe can count on it."""
    assert _deadline({"headers": [(b"xcore-deadline-seconds", given)]}) == seconds
