"""Watching one collection of the API server: listed, then followed; listed anew when the thread is lost."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
from typing import Any

from tests.cluster.certificates import PKI
from tests.cluster.places import FIRST

SECONDS, PAUSE = 300, 0.5


class Watch:
    """What is in a collection now. While the API server is away, what was known last."""

    def __init__(self, path: str, changed: threading.Event) -> None:
        self.complete = threading.Event()
        self._path, self._changed = path, changed
        self._objects: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def objects(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._objects.values())

    def run(self) -> None:
        """For ever."""
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError):
                self._follow(self._list())
            threading.Event().wait(PAUSE)

    def _list(self) -> str:
        with contextlib.closing(_connection(30)) as connection:
            listed = json.load(_asked(connection, self._path))
        with self._lock:
            self._objects = {item["metadata"]["uid"]: item for item in listed["items"]}
        self.complete.set()
        self._changed.set()
        return str(listed["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> None:
        query = f"watch=1&resourceVersion={version}&timeoutSeconds={SECONDS}"
        with contextlib.closing(_connection(SECONDS + 10)) as connection:
            for line in _asked(connection, f"{self._path}?{query}"):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                uid = event["object"]["metadata"]["uid"]
                with self._lock:
                    if event["type"] == "DELETED":
                        self._objects.pop(uid, None)
                    else:
                        self._objects[uid] = event["object"]
                self._changed.set()


def _connection(seconds: float) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(PKI / "ca.crt"))
    context.load_cert_chain(PKI / "admin.crt", PKI / "admin.key")
    return http.client.HTTPSConnection(FIRST.address, 6443, timeout=seconds, context=context)


def _asked(connection: http.client.HTTPSConnection, path: str) -> http.client.HTTPResponse:
    connection.request("GET", path, headers={"User-Agent": "netpol-for-tests"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise http.client.HTTPException(f"{path}: {answer.status}")
    return answer
