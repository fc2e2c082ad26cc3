"""Carries out a page of the documentation: types its commands, writes its files, compares what it says comes out.

What a fence means (the word is its language, then maybe a title):

- ``sh``: typed at the one prompt; every command must succeed.
- ``sh title="Terminal 2"``: typed in a terminal of its own, where the last command goes on running.
- ``text``, ``json``, and anything after ``cat FILE``: what the block before it prints. ``…`` stands for anything
  within a line, a line of it for any lines. It may be a part of what is printed; from a terminal it is waited for.
- ``python title="demo/main.py"`` or ``yaml title=…``: a file to write, seen from the prompt's directory. A file of
  examples/ is there: it must hold these very lines.

Any other block is only read.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import until

FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
DONE = "--done--"


@dataclass(frozen=True)
class Block:
    kind: str
    title: str
    text: str
    place: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in FENCE.finditer(text):
        yield Block(
            found[1], found[2] or "", found[3], f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}"
        )


def shown(expected: str) -> re.Pattern[str]:
    """What is shown as a pattern for what is printed."""
    lines = [
        r"(?:[^\n]*\n)*?"
        if line.strip() == "…"
        else re.escape(line.rstrip()).replace("…", r"[^\n]*") + r"[ \t]*\n"
        for line in expected.splitlines()
    ]
    return re.compile("^" + "".join(lines), re.MULTILINE)


class Prompt:
    """One shell, so that `cd` and `export` last from block to block."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-e"],
            cwd=directory,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def type(self, block: Block, text: str, seconds: float) -> str:
        """What it prints. The shell ends at the first command that fails, and so does the page."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{\n{text}\n}} </dev/null; printf '\\n{DONE}%s\\n' \"$PWD\"\n")
        self._shell.stdin.flush()
        watchdog = threading.Timer(seconds, os.killpg, (self._shell.pid, signal.SIGKILL))
        watchdog.start()
        printed = []
        for line in self._shell.stdout:
            if line.startswith(DONE):
                self.directory = Path(line.removeprefix(DONE).rstrip("\n"))
                watchdog.cancel()
                return "".join(printed).removesuffix("\n")
            printed.append(line)
        watchdog.cancel()
        raise AssertionError(
            f"{block.place}: failed, or not done within {seconds} s:\n{text}\n{''.join(printed)}"
        )

    def close(self) -> None:
        with self._shell:  # closes the pipes and waits
            if self._shell.poll() is None:
                os.killpg(self._shell.pid, signal.SIGKILL)


class Terminal:
    """A command that goes on running, and what it has printed so far."""

    def __init__(self, text: str, directory: Path, environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-ec", text],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def printed(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def close(self) -> None:
        """As Ctrl-C does."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(60)


@dataclass
class Walk:
    """A reader: one prompt, some terminals, and what to read for a word on the page (a port, a key)."""

    prompt: Prompt
    environment: Mapping[str, str]
    logs: Path
    instead: dict[str, str] = field(default_factory=dict)
    terminals: list[Terminal] = field(default_factory=list)
    _typed: str = ""
    _printed: Terminal | str = ""

    def carry_out(self, block: Block, seconds: float = 60) -> None:
        text = block.text
        for word, meant in self.instead.items():
            text = text.replace(word, meant)
        if block.kind == "sh":
            self._typed = text
            self._printed = self._started(text) if block.title else self.prompt.type(block, text, seconds)
        elif block.title.startswith("examples/"):
            assert text in (self.prompt.directory / block.title).read_text("utf-8"), block.place
        elif block.title:
            (self.prompt.directory / block.title).write_text(text, "utf-8")
        elif block.kind in {"text", "json"} or self._typed.startswith("cat "):
            self._compare(block, shown(text), seconds)

    def _started(self, text: str) -> Terminal:
        log = self.logs / f"terminal-{len(self.terminals)}.log"
        self.terminals.append(Terminal(text, self.prompt.directory, self.environment, log))
        return self.terminals[-1]

    def _compare(self, block: Block, wanted: re.Pattern[str], seconds: float) -> None:
        printed = self._printed
        if isinstance(printed, Terminal):
            until(lambda: wanted.search(printed.printed()), seconds, f"{block.place}: {block.text}")
        else:
            assert wanted.search(printed + "\n"), f"{block.place}: shown\n{block.text}\nprinted\n{printed}"

    def close(self) -> None:
        for terminal in reversed(self.terminals):
            terminal.close()
        self.prompt.close()
