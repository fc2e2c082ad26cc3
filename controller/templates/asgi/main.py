"""A web application: its routes answer below /app/<name>, its own pages of documentation included."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/greet/{name}")
async def greet(name: str) -> dict[str, str]:
    """Greet someone."""
    return {"greeting": f"Hello {name}"}
