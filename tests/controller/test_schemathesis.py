"""The whole API against its own description: whatever is sent, no 5xx, and no answer the document does not know."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.harness import KEY, Controller

HELLO = Path(__file__).parents[2] / "examples" / "hello"
SEED, EXAMPLES = 20_261_123, 15  # of each operation
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@pytest.fixture
def controller():
    root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    root.chmod(0o755)
    shutil.copytree(HELLO, root / "plugins" / "hello")
    made = Controller(root / "plugins", root / "state", {"XCORE_RUNTIME": "process"})
    try:
        made.start()
        made.wait_ready("hello")
        yield made
    finally:
        made.stop()
        shutil.rmtree(root)


@pytest.mark.timeout(500)
def test_whatever_is_sent_the_api_answers_as_it_is_described(controller):
    """Requests made from the document, valid and not, by a fixed seed; as an administrator, to a plugin that is there."""
    config = controller.state.parent / "schemathesis.toml"
    config.write_text('[parameters]\nname = "hello"\n')
    command = [Path(sys.executable).with_name("schemathesis"), "--no-color", "--config-file", config, "run"]
    where = [f"{controller.url}/openapi.json", "-H", f"Authorization: Bearer {KEY}"]
    which = ["--exclude-path-regex", "^/app/", "--phases", "examples,fuzzing", "--checks", ",".join(CHECKS)]
    bounds = ["--seed", SEED, "--max-examples", EXAMPLES, "--request-timeout", 30, "--no-shrink"]
    options = map(str, [*where, *which, *bounds, "--continue-on-failure", "--suppress-health-check", "all"])
    # Elsewhere than here: it keeps what it found beside where it runs.
    done = subprocess.run(
        [*command, *options], cwd=config.parent, capture_output=True, text=True, timeout=480, check=False
    )
    found = re.search(r"([0-9]+) generated", done.stdout)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert found is not None
    assert int(found[1]) > 300
    print(f"\nschemathesis: seed {SEED}, {found[1]} requests, no 5xx, no violation of the document")
