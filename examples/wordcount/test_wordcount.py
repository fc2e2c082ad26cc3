from examples.wordcount.main import WordCount
from xcore.plugin.testing import serve


async def test_words_of_the_body_are_counted_whatever_their_case() -> None:
    async with serve(WordCount) as client:
        status, body = await client.call("count", "Été, été… don't PANIC; don't".encode(), top=2)

    assert status == 200
    assert body == {
        "total": 5,
        "different": 3,
        "top": [{"word": "été", "count": 2}, {"word": "don't", "count": 2}],
    }


async def test_an_empty_body_has_no_words() -> None:
    async with serve(WordCount) as client:
        assert await client.call("count", b"") == (200, {"total": 0, "different": 0, "top": []})


async def test_bytes_that_are_no_text_are_counted_all_the_same() -> None:
    async with serve(WordCount) as client:
        status, body = await client.call("count", b"\xff\xfe one")

    assert (status, body["total"]) == (200, 1)


async def test_a_top_out_of_bounds_is_named() -> None:
    async with serve(WordCount) as client:
        status, body = await client.call("count", b"words", top=1001)

    assert status == 422
    assert body["errors"][0]["field"] == "top"
