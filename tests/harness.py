"""A real controller as a child process, and what a client of it does. For tests that need the whole of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

KEY = "test-key-" + "0123456789abcdef" * 2
XCORE = Path(sys.executable).with_name("xcore")


def until(condition: Callable[[], Any], seconds: float = 30.0, what: str = "the condition") -> Any:
    """Await a condition, looking often; the deadline is only there to end a broken test."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about in {seconds} s; last: {result!r}")
        time.sleep(0.02)
    return result


@dataclass
class Answer:
    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def reason(self) -> str:
        return self.headers.get("xcore-reason", "")


@dataclass
class Controller:
    """Start it with `start`; `stop` asks it to end, `kill` does not."""

    plugins: Path
    state: Path
    settings: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.state.with_suffix(".log")

    def start(self, *, ready: bool = True) -> float:
        """Returns how long it took to answer, seconds."""
        began = time.monotonic()
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("XCORE_")},
            "XCORE_PLUGINS_DIR": str(self.plugins),
            "XCORE_STATE_DIR": str(self.state),
            "XCORE_ADMIN_KEY": KEY,
            "XCORE_PORT": str(self.port),
            **self.settings,
        }
        offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            command = [*self.prefix, XCORE, "serve"]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        if ready:
            marker = b"xcore listens on http://127.0.0.1:"
            text = until(lambda: self._has(offset, marker) or self._dead(), 30, "the controller's start")
            assert isinstance(text, bytes), self.log.read_text()
            self.port = int(text.split(marker)[1].split(b"\n")[0])
            until(self._alive, 30, "the first sync")
        return time.monotonic() - began

    def _has(self, offset: int, marker: bytes) -> bytes | None:
        text = self.log.read_bytes()[offset:]
        return text if marker in text and b"\n" in text.split(marker)[1] else None

    def _dead(self) -> int | None:
        assert self.process is not None
        return None if self.process.poll() is None else -1

    def _alive(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz").status_code == 200
        return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def memory(self, field: str = "VmRSS") -> int:
        """Bytes it has, by a field of proc(5)'s `status`."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))

    # -- as a client --------------------------------------------------------------------------------------------

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=120)

    def request(self, method: str, path: str, **options: Any) -> Answer:
        with self.client() as client:
            answer = client.request(method, path, **options)
        return Answer(answer.status_code, answer.headers, answer.content)

    def call(self, plugin: str, action: str, arguments: Any = None) -> Answer:
        return self.request("POST", f"/app/{plugin}/{action}", json=arguments or {})

    def resource(self, plugin: str) -> Any:
        return self.request("GET", f"/api/v1/plugins/{plugin}").json

    def status(self, plugin: str) -> Any:
        return self.resource(plugin)["status"]

    def condition(self, plugin: str, kind: str) -> tuple[str, str, str]:
        conditions = self.status(plugin).get("conditions", [])
        found = next((c for c in conditions if c["type"] == kind), None)
        return (found["status"], found["reason"], found["message"]) if found else ("", "", "")

    def wait_ready(self, plugin: str, seconds: float = 40) -> None:
        def ready() -> bool:
            answer = self.request("GET", f"/api/v1/plugins/{plugin}")
            if answer.status != 200:
                return False
            conditions = {c["type"]: c for c in answer.json["status"]["conditions"]}
            return (
                conditions["Ready"]["status"] == "True"
                and conditions["Progressing"]["reason"] == "NewRevisionAvailable"
            )

        until(ready, seconds, f"{plugin} being ready")


@dataclass
class Load:
    """Callers that never stop asking while the `with` block runs; each answer is judged by `judge`."""

    controller: Controller
    plugin: str
    action: str
    arguments: Any = None
    callers: int = 4
    pause: float = 0.005
    outcomes: Counter[str] = field(default_factory=Counter)
    bodies: Counter[bytes] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[Load]:
        threads = [threading.Thread(target=self._call) for _ in range(self.callers)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _call(self) -> None:
        with self.controller.client() as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(f"/app/{self.plugin}/{self.action}", json=self.arguments or {})
                except httpx.TransportError as error:
                    self.outcomes[type(error).__name__] += 1
                    self.wrong.append(repr(error))
                    time.sleep(0.05)
                    continue
                self._judge(answer)
                time.sleep(self.pause)

    def _judge(self, answer: httpx.Response) -> None:
        if answer.status_code == 200:
            self.bodies[answer.content] += 1
            self.outcomes["200"] += 1
        elif answer.status_code == 503 and "retry-after" in answer.headers:
            self.outcomes["503+Retry-After"] += 1
            self.retries.append(answer.json()["detail"])
        else:
            self.outcomes[f"{answer.status_code}"] += 1
            self.wrong.append(f"{answer.status_code} {answer.text[:300]}")
