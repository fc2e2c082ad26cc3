"""A Starlette application, knowing nothing of where it is served."""

import hashlib
from collections.abc import Iterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.routing import Route


async def index(request: Request) -> JSONResponse:
    here, item = request.url_for("index"), request.url_for("item", number=3)
    client = request.client.host if request.client else None
    return JSONResponse({"here": str(here), "item": str(item), "client": client})


async def item(request: Request) -> JSONResponse:
    return JSONResponse({"method": request.method, **request.path_params})


async def old(request: Request) -> RedirectResponse:
    return RedirectResponse(request.url_for("index"))


async def upload(request: Request) -> JSONResponse:
    async with request.form() as form:
        content = await form["file"].read()  # type: ignore[union-attr]
    return JSONResponse({"size": len(content), "sha256": hashlib.sha256(content).hexdigest()})


async def download(request: Request) -> StreamingResponse:
    size = int(request.query_params["size"])

    def pieces() -> Iterator[bytes]:
        for start in range(0, size, 65536):
            yield b"x" * min(65536, size - start)

    return StreamingResponse(pieces(), media_type="application/octet-stream")


async def visit(request: Request) -> JSONResponse:
    visits = int(request.cookies.get("visits", 0)) + 1
    response = JSONResponse({"visits": visits})
    response.set_cookie("visits", str(visits), httponly=True)
    return response


app = Starlette(
    routes=[
        Route("/", index),
        Route("/items/{number:int}", item, methods=["GET", "DELETE"]),
        Route("/old", old),
        Route("/upload", upload, methods=["POST"]),
        Route("/visit", visit, methods=["POST"]),
        Route("/download", download),
    ]
)
