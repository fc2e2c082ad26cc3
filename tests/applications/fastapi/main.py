"""A FastAPI application as its author would write it, knowing nothing of where it is served."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI, Request, Response, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import RedirectResponse, StreamingResponse


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
    print("opened")
    yield {"made": ["by the lifespan"]}
    print("closed")


app = FastAPI(title="Sample", lifespan=lifespan)


@app.get("/")
async def index(request: Request) -> dict[str, object]:
    return {
        "here": str(request.url_for("index")),
        "item": str(request.url_for("item", number=3)),
        "root": request.scope["root_path"],
        "state": request.state.made,
        "client": request.client.host if request.client else None,
        "scheme": request.url.scheme,
    }


@app.get("/items/{number}")
@app.delete("/items/{number}", operation_id="delete_item")
async def item(request: Request, number: int) -> dict[str, object]:
    return {"method": request.method, "number": number, "path": request.url.path}


@app.get("/old")
async def old(request: Request) -> RedirectResponse:
    return RedirectResponse(request.url_for("index"))


@app.post("/visit")
async def visit(request: Request, response: Response) -> dict[str, int]:
    visits = int(request.cookies.get("visits", 0)) + 1
    response.set_cookie("visits", str(visits), httponly=True)
    return {"visits": visits}


@app.get("/slashed/")
async def slashed() -> str:
    return "slashed"


@app.post("/upload")
async def upload(file: UploadFile) -> dict[str, object]:
    digest = hashlib.sha256()
    while chunk := await file.read(65536):
        digest.update(chunk)
    return {"size": file.size, "sha256": digest.hexdigest()}


@app.get("/download")
def download(size: int) -> StreamingResponse:
    def pieces() -> Iterator[bytes]:
        for start in range(0, size, 65536):
            yield b"x" * min(65536, size - start)

    return StreamingResponse(pieces(), media_type="application/octet-stream")


@app.post("/later")
async def later(background: BackgroundTasks) -> str:
    background.add_task(print, "in the background")
    return "soon"


@app.get("/broken")
async def broken() -> None:
    raise LookupError("a mistake of the author's")


@app.get("/exit")
async def leave() -> None:
    raise SystemExit(3)


@app.get("/half")
async def half() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"half of it\n"
        await asyncio.sleep(0)
        raise LookupError("midway")

    return StreamingResponse(pieces(), media_type="text/plain")


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    offered = websocket.scope["subprotocols"]
    await websocket.accept(subprotocol=offered[0] if offered else None)
    try:
        while True:
            text = await websocket.receive_text()
            if text == "bye":
                await websocket.close(4001, "as you wish")
                return
            if text == "fail":
                raise LookupError("in a websocket")
            await websocket.send_text(text)
    except WebSocketDisconnect as left:
        print(f"left with {left.code}")


@app.get("/exit-midway")
async def exit_midway() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"half of it\n"
        raise SystemExit(3)

    return StreamingResponse(pieces(), media_type="text/plain")
