"""What a plugin's author sees of a call: results of the type expected, failures told apart, stand-ins in tests."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from xcore.plugin import CallFailed, Plugin, Response, action
from xcore.plugin.testing import serve


@dataclass
class Left:
    sku: str
    left: int


class Stock(Plugin):
    @action
    async def take(self, sku: str) -> Left:
        return Left(sku, 3)

    @action
    async def caller(self) -> str:
        return self.context.caller

    @action
    async def reverse(self, data: bytes, keep: bool = False) -> bytes:
        return data if keep else data[::-1]

    @action
    async def fails(self) -> None:
        raise LookupError("out of stock")

    @action
    async def odd(self) -> Response:
        return Response(b'{"detail": 1', "application/problem+json", 418)

    @action
    async def relayed(self) -> str:
        return str(await self.context.call("stock", "caller"))


class Shop(Plugin):
    """Does what its test wants of `self.context`."""

    @action
    async def run(self) -> None:
        raise AssertionError("a test puts something else in its place")


async def called(plugin: str, name: str, *body: bytes, **more: Any) -> Any:
    """What `self.context.call` gives, or the CallFailed it raises."""
    caught: list[Any] = []

    class Calling(Shop):
        @action
        async def run(self) -> None:
            try:
                caught.append(await self.context.call(plugin, name, *body, **more))
            except CallFailed as failed:
                caught.append(failed)

    async with serve(Calling, name="shop", calls={"stock": Stock}) as client:
        assert (await client.call("run")).status == 200
    return caught[0]


async def test_a_result_is_of_the_type_that_was_expected():
    """JSON as data; with `returns` an object of that type."""
    assert await called("stock", "take", sku="a") == {"sku": "a", "left": 3}
    assert await called("stock", "take", returns=Left, sku="a") == Left("a", 3)


async def test_a_result_of_another_type_fails_the_call():
    """As the other plugin's failure, with what is wrong in it."""
    failed = await called("stock", "take", returns=list[int], sku="a")
    assert (failed.status, failed.reason, failed.answered) == (502, "UpstreamInvalid", True)
    assert "Expected `array`, got `object`" in failed.detail


async def test_bytes_go_as_a_raw_body_with_arguments_beside_them():
    """And come back as bytes."""
    assert await called("stock", "reverse", b"abc") == b"cba"
    assert await called("stock", "reverse", b"abc", keep=True) == b"abc"


async def test_the_other_plugin_is_told_who_calls():
    """By its name; a request from outside has no caller."""
    assert await called("stock", "caller") == "shop"
    async with serve(Stock) as client:
        assert (await client.call("caller")).body == ""


async def test_whom_a_request_comes_from_ends_with_it():
    """A plugin in the middle is the caller of the next one; what one request was told is not another's."""
    async with serve(Shop, calls={"stock": Stock}) as client:
        context = client.host.hosted.plugin.context  # type: ignore[attr-defined]
        assert await context.call("stock", "relayed") == "stock"
        assert context.caller == ""


@pytest.mark.parametrize(
    ("name", "arguments", "status", "reason", "answered"),
    [
        ("fails", {}, 500, "ActionFailed", True),
        ("nothing", {}, 404, "ActionNotFound", True),
        ("take", {}, 422, "InvalidArguments", True),
        ("odd", {}, 418, "", True),
    ],
)
async def test_a_failure_of_the_other_plugin_is_told_as_its_own(name, arguments, status, reason, answered):
    """With its status and reason, and what it calls a problem read as far as it is one."""
    failed = await called("stock", name, **arguments)
    assert (failed.status, failed.reason, failed.answered) == (status, reason, answered)


async def test_wrong_arguments_are_named():
    """Each field, and what is allowed there."""
    failed = await called("stock", "take", sku=1)
    assert failed.errors == {"sku": "Expected `str`, got `int`"}


async def test_a_plugin_that_is_not_there_is_no_answer_of_it():
    """Ours to tell: `answered` is false."""
    failed = await called("mail", "send")
    assert (failed.status, failed.reason, failed.answered) == (404, "PluginNotFound", False)


async def test_a_plugin_without_calls_is_told_which_field_to_set():
    """A context that was made without a way to call has none."""
    async with serve(Stock) as client:
        context = client.host.hosted.plugin.context  # type: ignore[attr-defined]
        with pytest.raises(CallFailed, match=r"404 PluginNotFound.*names them"):
            await context.call("mail", "send")


async def test_a_sync_action_calls_by_a_loop_of_its_own():
    """In its thread, where none runs."""

    class Sync(Plugin):
        @action
        def run(self) -> Any:
            return asyncio.run(self.context.call("stock", "caller"))

    async with serve(Sync, name="shop", calls={"stock": Stock}) as client:
        assert await client.call("run") == (200, "shop")


async def test_a_failed_call_that_nobody_catches_fails_the_action():
    """As any exception of the plugin: 500 ActionFailed of the caller."""

    class Careless(Plugin):
        @action
        async def run(self) -> None:
            await self.context.call("stock", "fails")

    async with serve(Careless, calls={"stock": Stock}) as client:
        answer = await client.call("run")
    assert (answer.status, answer.body["reason"]) == (500, "ActionFailed")
