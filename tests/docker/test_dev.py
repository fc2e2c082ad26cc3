"""`xcore dev --docker`: the container a plugin will get later, gone with the command."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.harness import XCORE, until
from tests.support import HELLO, write_plugin

pytestmark = pytest.mark.docker


def test_a_folder_is_served_from_a_container_and_leaves_none(open_dir: Path) -> None:
    """A save is rolled out there, too; after Ctrl-C no container, volume or file of it is left."""
    temporary = open_dir / "tmp"
    temporary.mkdir()
    temporary.chmod(0o755)
    folder = write_plugin(open_dir / "devdocker")
    said = open_dir / "said.txt"
    keep = {k: v for k, v in os.environ.items() if not k.startswith("XCORE_")}
    with said.open("wb") as file:
        command = [XCORE, "dev", folder, "--docker", "--port", "0"]
        process = subprocess.Popen(command, env={**keep, "TMPDIR": str(temporary)}, stdout=file, stderr=file)
    try:
        until(lambda: "xcore: serves in " in said.read_text(), 60, "the first start")
        assert _left("container", "ls", "-a")
        write_plugin(folder, HELLO.replace("Hello {", "Bye {"))
        until(lambda: "xcore: reloaded in " in said.read_text(), 60, "the reload")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert (_left("container", "ls", "-a"), list(temporary.iterdir())) == ([], [])


def _left(*listing: str) -> list[str]:
    command = ["docker", *listing, "-q", "--filter", "label=dev.xcore.plugin=devdocker"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()
