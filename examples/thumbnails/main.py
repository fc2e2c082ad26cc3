"""Small pictures of large ones: a compiled library that does its work in a sandbox."""

from io import BytesIO
from typing import Annotated

import msgspec
from msgspec import Meta
from PIL import Image, ImageOps

from xcore.plugin import Plugin, Response, action

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_PIXELS = 24_000_000  # 72 MB when they are unpacked
# Pillow's own bound, above which it refuses, is twice this.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


class Thumbnails(Plugin):
    @action
    def make(self, picture: bytes, size: Annotated[int, Meta(ge=16, le=1024)] = 256) -> Response:
        """Scale a picture (the request's body) down to fit a square; the answer is a PNG.

        Not async: it is work, and in a thread it holds up no other request.
        """
        try:
            with Image.open(BytesIO(picture), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    return refused(413, f"it has more than {MAX_PIXELS} pixels")
                image.thumbnail((size, size))
                upright = ImageOps.exif_transpose(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return refused(415, f"it is no {', '.join(FORMATS)}")
        png = BytesIO()
        upright.convert("RGBA" if upright.has_transparency_data else "RGB").save(png, "PNG")
        return Response(png.getvalue(), "image/png")


def refused(status: int, why: str) -> Response:
    body = {"error": f"The picture was not read: {why}."}
    return Response(msgspec.json.encode(body), "application/json", status=status)
