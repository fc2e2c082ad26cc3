"""Fixtures for what runs inside a sandbox."""

import contextlib
import textwrap
from pathlib import Path

import pytest

from tests.sandbox_image.child import HEADER, Runner


@pytest.fixture
def start(tmp_path):
    """Start a runner on source text or a folder; whatever is left of it is killed at the end."""
    with contextlib.ExitStack() as stack:

        def begin(source: str | Path, **options) -> Runner:
            if isinstance(source, str):
                (tmp_path / "main.py").write_text(HEADER + textwrap.dedent(source), "utf-8")
                source = tmp_path
            runner = Runner(source, tmp_path / "s", **options)
            stack.callback(runner.close)
            return runner

        yield begin
