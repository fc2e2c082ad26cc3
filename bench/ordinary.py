"""The ordinary way to serve a typed greeting: FastAPI on uvicorn, one process: `python -m bench.ordinary PORT`."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Greeting(BaseModel):
    name: str = "world"


@app.post("/greet")
async def greet(greeting: Greeting) -> str:
    return f"Hello {greeting.name}"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
