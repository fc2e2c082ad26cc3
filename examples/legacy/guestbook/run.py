"""A plugin of the first old system: PLUGIN_INFO, a router with the plugin's own prefix, and a class with `run()`."""

from fastapi import APIRouter, HTTPException, Request

from .schemas import Entry

PLUGIN_INFO = {
    "name": "Guestbook",
    "version": "1.0.0",
    "author": "Plugins team",
    "Api_prefix": "/app/guestbook",
    "tag_for_identified": ["Plugin", "guestbook"],
    "trigger": 2,
}

router = APIRouter(prefix=PLUGIN_INFO["Api_prefix"], tags=PLUGIN_INFO["tag_for_identified"])
entries = []


class Plugin:
    def __init__(self):
        super().__init__()
        self.name = PLUGIN_INFO["name"]

    @router.get("/")
    @staticmethod
    def run(request: Request, limit: int = 10):
        return {"entries": entries[-limit:], "count": len(entries), "path": request.url.path}

    @router.post("/entries", status_code=201)
    @staticmethod
    def add(entry: Entry):
        entries.append(entry.model_dump())
        return {"number": len(entries)}

    @router.get("/entries/{number}")
    @staticmethod
    def one(number: int):
        if not 0 < number <= len(entries):
            raise HTTPException(404, "no such entry")
        return entries[number - 1]
