"""What a test of a plugin's author holds: his plugin, served in a sandbox behind a real controller.

    def test_it_greets(plugin: ServedPlugin) -> None:
        assert plugin.call("greet", name="Ada") == "Hello Ada"

`plugin` is a fixture of `xcore.pytest_plugin`, there wherever xcore is installed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from xcore.testing.alone import Alone
from xcore.testing.frames import last_traceback

# A traceback is in the logs a moment after the answer that speaks of it.
_LOG_SECONDS = 2.0


class CallFailed(AssertionError):
    """An action was answered with an error: `status`, `reason`, `detail`, `errors` (field → message), `body`."""

    def __init__(self, response: httpx.Response, traceback: list[str]) -> None:
        self.status, self.body = response.status_code, response.content
        told = _problem(response)
        self.reason, self.detail = str(told.get("reason", "")), str(told.get("detail", response.text[:1000]))
        self.errors = {str(e["field"]): str(e["message"]) for e in told.get("errors", ())}
        wrong = [f"  {field}: {message}" for field, message in self.errors.items()]
        super().__init__("\n".join([f"{self.status} {self.reason}: {self.detail}", *wrong, *traceback]))


class ServedPlugin:
    """`name` as in the manifest, `url` where it answers, `http` a client for it that has the key."""

    def __init__(self, alone: Alone, resource: Mapping[str, Any]) -> None:
        self._alone = alone
        self.name, self.url = alone.name, f"{alone.url}/app/{alone.name}"
        self.runtime: str = resource["status"]["runtime"]
        """Where it runs: docker or process."""
        self.http = httpx.Client(
            base_url=self.url, headers=alone.http.headers, trust_env=False, timeout=alone.http.timeout
        )

    def call(self, action: str, body: bytes | None = None, /, **arguments: Any) -> Any:
        """Give an action's result: JSON decoded, anything else as bytes. Raises CallFailed.

        `arguments` are its JSON body, or, beside a raw `body`, its query.
        """
        if body is None:
            response = self.http.post(f"/{action}", json=arguments)
        else:
            response = self.http.post(f"/{action}", content=body, params=arguments)
        if response.is_error:
            raise CallFailed(response, self._traceback(response))
        is_json = response.headers.get("content-type", "").partition(";")[0] == "application/json"
        return response.json() if is_json and response.content else response.content

    def stream(self, action: str, /, **arguments: Any) -> Iterator[Any]:
        """Give a stream's items as they come; leaving it early stops it. Raises CallFailed, also midway."""
        accept = {"Accept": "text/event-stream"}
        with self.http.stream("POST", f"/{action}", json=arguments, headers=accept) as response:
            if response.is_error:
                response.read()
                raise CallFailed(response, self._traceback(response))
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                yield from response.iter_bytes()
                return
            for event, data in _events(response.iter_lines()):
                if event == "end":
                    return
                if event == "error":
                    raise self._midway(data)
                yield json.loads(data)

    def get(self, path: str, **request: Any) -> httpx.Response:
        """Give the answer to a GET below the plugin's address, whatever its status; options as httpx has them."""
        return self.http.get(path, **request)

    def post(self, path: str, **request: Any) -> httpx.Response:
        """Give the answer to a POST below the plugin's address, whatever its status."""
        return self.http.post(path, **request)

    def logs(self, lines: int = 1000) -> list[str]:
        """Give what the plugin wrote: the last so many lines, oldest first."""
        return self._alone.output(lines)

    def told(self) -> list[str]:
        """Say where it was served, and why there."""
        where = {"docker": "in a Docker container", "process": "in a child process"}[self.runtime]
        return [*self._alone.warnings(), f"{self.name} was served {where}"]

    def close(self) -> None:
        self.http.close()

    def _midway(self, problem: str) -> CallFailed:
        headers = {"Content-Type": "application/problem+json"}
        told = httpx.Response(json.loads(problem)["status"], content=problem, headers=headers)
        return CallFailed(told, self._traceback(told))

    def _traceback(self, response: httpx.Response) -> list[str]:
        told = _problem(response)
        if told.get("reason") != "ActionFailed":
            return []
        deadline, wanted = time.monotonic() + _LOG_SECONDS, str(told.get("requestId"))
        while time.monotonic() < deadline:
            lines = self.logs()
            records = [number for number, line in enumerate(lines) if line[:1] == "{" and wanted in line]
            found = last_traceback(lines[records[-1] :], self._alone.folder) if records else []
            if found:
                return found
            time.sleep(0.02)
        return []


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Name and data of each server-sent event, as a runner writes them: one line of data each."""
    event = "message"
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            event = value
        elif field == "data":
            yield event, value
            event = "message"


def _problem(response: httpx.Response) -> dict[str, Any]:
    """The problem an answer holds, empty where it holds none."""
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    told: dict[str, Any] = json.loads(response.content)
    return told
