"""The fixture `plugin` for authors of plugins: pytest finds it wherever xcore is installed.

It costs nothing where it is not asked for: everything else of xcore is imported by then, not before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xcore.testing.served import ServedPlugin

MANIFEST = "plugin.yaml"
_TOLD = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("xcore").addoption(
        "--xcore-runtime",
        choices=("auto", "docker", "process"),
        default="auto",
        help="Where the fixture `plugin` serves it; auto: docker where an engine answers, else process.",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_TOLD, ()):
        terminalreporter.write_line(f"xcore: {line}")


@pytest.fixture(scope="session")
def xcore_serve(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], ServedPlugin]]:
    """Serve a folder, once in a session, until its end: `xcore_serve(Path("demo"))`."""
    from xcore.testing.session import serve  # noqa: PLC0415  nobody pays for what he does not use

    served: dict[Path, ServedPlugin | str] = {}
    runtime = request.config.getoption("--xcore-runtime")
    told = request.config.stash.setdefault(_TOLD, [])
    with contextlib.ExitStack() as stack:

        def one(folder: Path) -> ServedPlugin:
            known = served.get(folder)
            if known is None:
                known = served[folder] = serve(folder, runtime, stack)
                if not isinstance(known, str):
                    told.extend(known.told())
            if isinstance(known, str):
                pytest.fail(known, pytrace=False)
            return known

        yield one


@pytest.fixture(scope="module")
def plugin(request: pytest.FixtureRequest, xcore_serve: Callable[[Path], ServedPlugin]) -> ServedPlugin:
    """The plugin whose folder this test lies in, served in a sandbox behind a real controller."""
    for folder in request.path.parents:
        if (folder / MANIFEST).is_file():
            return xcore_serve(folder)
    pytest.fail(f"there is no {MANIFEST} beside or above {request.path.name}", pytrace=False)
