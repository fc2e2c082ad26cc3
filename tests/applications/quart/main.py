"""A Quart application, knowing nothing of where it is served."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from quart import Quart, Response, jsonify, redirect, request, url_for

app = Quart(__name__)


@app.get("/")
async def index() -> dict[str, Any]:
    return {
        "here": url_for("index", _external=True),
        "item": url_for("item", number=3, _external=True),
        "client": request.remote_addr,
    }


@app.route("/items/<int:number>", methods=["GET", "DELETE"])
async def item(number: int) -> dict[str, Any]:
    return {"method": request.method, "number": number}


@app.get("/old")
async def old() -> Any:
    return redirect(url_for("index"))


@app.post("/visit")
async def visit() -> Response:
    visits = int(request.cookies.get("visits", 0)) + 1
    response = jsonify(visits=visits)
    response.set_cookie("visits", str(visits), httponly=True)
    return response


@app.post("/upload")
async def upload() -> dict[str, Any]:
    content = (await request.files)["file"].read()
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@app.get("/download")
async def download() -> Response:
    size = int(request.args["size"])

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 65536):
            yield b"x" * min(65536, size - start)

    return Response(pieces(), mimetype="application/octet-stream")
