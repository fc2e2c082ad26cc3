"""A Litestar application, knowing nothing of where it is served."""

import hashlib
from collections.abc import Iterator
from typing import Annotated, Any

from litestar import Litestar, Request, Response, get, post, route
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect, Stream


@get("/", name="index", sync_to_thread=False)
def index(request: Request[Any, Any, Any]) -> dict[str, Any]:
    base = str(request.base_url).rstrip("/")
    item_path = request.app.route_reverse("item", number=3)
    client = request.client.host if request.client else None
    return {"here": f"{base}/", "item": f"{base}{item_path}", "client": client}


@route(
    "/items/{number:int}", http_method=["GET", "DELETE"], name="item", status_code=200, sync_to_thread=False
)
def item(request: Request[Any, Any, Any], number: int) -> dict[str, Any]:
    return {"method": request.method, "number": number}


@get("/old", sync_to_thread=False)
def old(request: Request[Any, Any, Any]) -> Redirect:
    return Redirect(str(request.base_url))


@post("/upload")
async def upload(
    data: Annotated[dict[str, UploadFile], Body(media_type=RequestEncodingType.MULTI_PART)],
) -> dict[str, Any]:
    content = await data["file"].read()
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@get("/download", sync_to_thread=False)
def download(size: int) -> Stream:
    def pieces() -> Iterator[bytes]:
        for start in range(0, size, 65536):
            yield b"x" * min(65536, size - start)

    return Stream(pieces(), media_type="application/octet-stream")


@post("/visit", status_code=200, sync_to_thread=False)
def visit(request: Request[Any, Any, Any]) -> Response[dict[str, int]]:
    visits = int(request.cookies.get("visits", 0)) + 1
    response = Response({"visits": visits})
    response.set_cookie("visits", str(visits), httponly=True)
    return response


app = Litestar([index, item, old, upload, visit, download])
