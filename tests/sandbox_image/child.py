"""The runner as a real child process, asked over its unix socket."""

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "examples/hello"
SECONDS = 30
HEADER = "from xcore.plugin import Plugin, Response, action\n"


class Connection(http.client.HTTPConnection):
    """HTTP over the runner's unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("sandbox", timeout=SECONDS)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self._path)


class Runner:
    """One child; its log is read all the time, as whoever runs it does."""

    def __init__(
        self,
        folder: Path,
        socket_path: Path,
        *,
        entrypoint: str = "main:P",
        port: int | None = None,
        site: Path | None = None,
        command: tuple[str, ...] = ("-m", "sandbox_image.runner"),
        **options,
    ) -> None:
        where = {"PORT": str(port)} if port else {"PLUGIN_SOCKET": str(socket_path)}
        spec = {"name": "p", "entrypoint": entrypoint, "version": "1", "config": {"a": 1}}
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PLUGIN_PATH": str(folder),
            "PLUGIN_SPEC": json.dumps(spec),
            **({"PLUGIN_SITE": str(site)} if site else {}),
            **where,
        }
        self.socket = socket_path
        self.process = subprocess.Popen(
            [sys.executable, "-P", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._news.notify_all()

    def said(self, text: str) -> None:
        """Wait until a line of the log holds `text`."""
        with self._news:
            assert self._news.wait_for(lambda: any(text in line for line in self.lines), SECONDS), self.lines

    def wait(self) -> int:
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def ready(self) -> "Runner":
        """Wait until it listens and has started."""
        while self.ask("GET", "/startup")[0] != 200:
            assert self.process.poll() is None, self.lines
        return self

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = Connection(self.socket)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (FileNotFoundError, ConnectionRefusedError):
            # Not there yet: give the child its turn.
            select.select([], [], [], 0.01)
            return 0, b""
        finally:
            connection.close()

    def post(self, action: str, body: bytes = b"{}") -> tuple[int, bytes]:
        return self.ask("POST", f"/app/p/{action}", body)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        self.process.stdout.close()
