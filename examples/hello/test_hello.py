from examples.hello.main import Hello
from xcore.plugin.testing import serve


async def test_it_greets_by_name_and_without() -> None:
    async with serve(Hello) as client:
        assert await client.call("greet", name="Ada") == (200, "Hello Ada")
        assert await client.call("greet") == (200, "Hello world")


async def test_it_adds_by_get_and_post() -> None:
    async with serve(Hello) as client:
        assert await client.get("add", a=1, b=2) == (200, 3)
        assert await client.call("add", a=1) == (200, 2)


async def test_what_is_not_a_number_is_named() -> None:
    async with serve(Hello) as client:
        status, body = await client.get("add", a="one")

    assert status == 422
    assert body["errors"] == [{"field": "a", "message": "Expected `int`, got `str`"}]
