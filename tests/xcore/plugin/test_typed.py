"""A plugin is typed: its author's checker sees through `@action`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_a_plugin_passes_the_strict_rules(tmp_path):
    """Hooks, actions, streams and responses, and what is made of them by whoever calls a method directly."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "--config-file="]
    checked = subprocess.run(
        [*command, "tests/applications/typed_plugin.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert checked.stdout.startswith("Success"), checked.stdout + checked.stderr
