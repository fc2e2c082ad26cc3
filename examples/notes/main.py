"""Notes that all readers see at once: a FastAPI application that knows nothing of where it runs.

The database is a file in the temporary directory: it is gone when the plugin is restarted.
"""

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI, HTTPException, WebSocket
from pydantic import BaseModel, Field

TABLE = "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)"


class Draft(BaseModel):
    text: str = Field(min_length=1, max_length=10_000)


class Note(Draft):
    id: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        app.state.database = sqlite3.connect(Path(folder, "notes.db"), isolation_level=None)
        app.state.database.execute(TABLE)
        app.state.readers = set()
        yield
        app.state.database.close()


app = FastAPI(title="Notes", lifespan=lifespan)


def ask(sql: str, *values: object) -> list[Note]:
    """On the event loop: a table this small answers in microseconds."""
    rows = app.state.database.execute(sql, values)
    return [Note(id=number, text=text) for number, text in rows]


@app.get("/notes")
async def every_note() -> list[Note]:
    return ask("SELECT id, text FROM notes ORDER BY id")


@app.get("/notes/{number}")
async def one_note(number: int) -> Note:
    found = ask("SELECT id, text FROM notes WHERE id = ?", number)
    if not found:
        raise HTTPException(404, f"There is no note {number}.")
    return found[0]


@app.post("/notes", status_code=201)
async def write_note(draft: Draft) -> Note:
    (note,) = ask("INSERT INTO notes (text) VALUES (?) RETURNING id, text", draft.text)
    for news in app.state.readers:
        with suppress(asyncio.QueueFull):  # a reader this slow misses some
            news.put_nowait(note)
    return note


@app.websocket("/live")
async def live(socket: WebSocket) -> None:
    """Every note from now on, as JSON."""
    await socket.accept()
    news: asyncio.Queue[Note] = asyncio.Queue(100)
    app.state.readers.add(news)
    sending = asyncio.create_task(send(news, socket))
    try:
        async for _ in socket.iter_text():
            pass  # until the reader leaves
    finally:
        app.state.readers.discard(news)
        sending.cancel()


async def send(news: asyncio.Queue[Note], socket: WebSocket) -> None:
    while True:
        await socket.send_text((await news.get()).model_dump_json())
