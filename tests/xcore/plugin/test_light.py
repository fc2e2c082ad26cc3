"""The contract is what a sandbox imports, so it stays light."""

import subprocess
import sys

import pytest

HEAVY = {"pydantic", "yaml", "docker", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "kubernetes"}


@pytest.mark.parametrize("name", ["xcore.plugin", "xcore.plugin.host", "xcore.plugin.testing"])
def test_importing_the_contract_loads_nothing_heavy(name):
    """Only msgspec and the standard library come with it."""
    code = f"import sys, {name}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout

    assert "xcore" in loaded.split()
    assert not HEAVY & set(loaded.split())
