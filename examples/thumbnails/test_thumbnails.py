import struct
import zlib

import pytest

from xcore.testing.served import CallFailed, ServedPlugin

PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture(width: int, height: int, *, rows: int | None = None) -> bytes:
    """A grey PNG, maybe of fewer `rows` than it promises."""
    body = zlib.compress((b"\0" + b"\x80" * width) * (height if rows is None else rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def dimensions(png: bytes) -> tuple[int, ...]:
    assert png.startswith(PNG)
    return struct.unpack(">II", png[16:24])


def test_a_picture_comes_back_as_a_png_that_fits_the_square(plugin: ServedPlugin) -> None:
    answer = plugin.post("/make", content=picture(800, 400), params={"size": 100})

    assert answer.headers["content-type"] == "image/png"
    assert dimensions(answer.content) == (100, 50)


def test_a_small_picture_is_not_made_larger(plugin: ServedPlugin) -> None:
    assert dimensions(plugin.call("make", picture(20, 30))) == (20, 30)


@pytest.mark.parametrize("body", [b"", b"not a picture", PNG, picture(800, 400)[:-30]])
def test_what_is_no_picture_is_refused(plugin: ServedPlugin, body: bytes) -> None:
    with pytest.raises(CallFailed) as failed:
        plugin.call("make", body)

    assert failed.value.status == 415


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_unpacked(plugin: ServedPlugin) -> None:
    for side in (6_000, 60_000):
        with pytest.raises(CallFailed) as failed:
            plugin.call("make", picture(side, side, rows=1))
        assert failed.value.status in {413, 415}
