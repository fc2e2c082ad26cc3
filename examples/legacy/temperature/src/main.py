"""A plugin of the old system: one `handle` for all actions, hooks, a data folder, a setting from the environment."""

import json
import os
from pathlib import Path

from .scales import convert


def _ok(**data):
    return {"status": "ok", **data}


def _error(msg, code="bad_request"):
    return {"status": "error", "msg": msg, "code": code}


class Plugin:
    def __init__(self):
        self.words = []
        self.unit = os.environ.get("DEFAULT_UNIT", "kelvin")

    async def on_load(self):
        path = Path(__file__).parent.parent / "data" / "words.json"
        self.words = json.loads(path.read_text())

    async def on_unload(self):
        print("temperature_tools unloaded")

    async def handle(self, action, payload):
        actions = {"ping": self._ping, "convert": self._convert, "feel": self._feel}
        if action not in actions:
            return _error(f"unknown action: {action}", code="not_found")
        return await actions[action](payload)

    async def _ping(self, _payload):
        return _ok(msg="pong", unit=self.unit)

    async def _convert(self, payload):
        try:
            value = convert(float(payload["value"]), payload.get("from", self.unit), payload["to"])
        except (KeyError, ValueError) as failure:
            return _error(f"cannot convert: {failure}")
        return _ok(value=round(value, 2), unit=payload["to"])

    async def _feel(self, payload):
        celsius = convert(float(payload["value"]), payload.get("unit", self.unit), "celsius")
        return _ok(word=next((word for limit, word in self.words if celsius <= limit), "too hot"))
