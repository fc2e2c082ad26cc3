"""The kernel is a library: a program of 20 lines runs a plugin in Docker where neither web framework nor SQL is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.conftest import Engine

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "examples" / "embedding" / "program.py"
UV = Path(sys.executable).with_name("uv")
# What the controller stands on, and this program must not need.
ABSENT = (
    *("fastapi", "starlette", "sqlalchemy", "alembic", "uvicorn", "uvloop", "httpx", "typer", "kubernetes"),
    *("pydantic_settings", "prometheus_client", "watchfiles"),
)


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=environment.pop("cwd", "/"),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def python(open_dir) -> Path:
    """An interpreter with the wheel, what the kernel needs, and Docker's client: the versions of uv.lock."""
    wanted = ("export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--extra", "docker")
    (open_dir / "requirements.txt").write_text(run(UV, *wanted, cwd=str(ROOT)))
    run(UV, "build", "--quiet", "--wheel", "--out-dir", open_dir / "wheel", ROOT)
    (wheel,) = (open_dir / "wheel").glob("*.whl")
    run(UV, "venv", "--quiet", "--python", sys.executable, open_dir / "venv")
    made = open_dir / "venv" / "bin" / "python"
    install = (UV, "pip", "install", "--quiet", "--python", made)
    run(*install, "--require-hashes", "-r", open_dir / "requirements.txt")
    run(*install, "--no-deps", wheel)
    return made


def test_a_program_of_twenty_lines_runs_a_plugin_in_docker(python, open_dir):
    """From the wheel and Docker's client alone; nothing of it is left afterwards."""
    assert len(PROGRAM.read_text("utf-8").splitlines()) <= 20
    finding = f"import importlib.util as u; print([n for n in {ABSENT!r} if u.find_spec(n)])"
    assert run(python, "-I", "-c", finding).strip() == "[]"
    shutil.copytree(ROOT / "examples" / "hello", open_dir / "plugins" / "hello")
    program = shutil.copy(PROGRAM, open_dir / "program.py")
    said = run(python, "-I", program, open_dir / "plugins", open_dir / "state", cwd=str(open_dir))
    assert said == "Hello Ada\n"
    engine = Engine(open_dir / "state")
    assert engine.run("ps", "-aq", "--filter", "label=dev.xcore.owner=embedding") == ""
    assert engine.run("volume", "ls", "-q", "--filter", "label=dev.xcore.owner=embedding") == ""
