"""The whole API against its own description: whatever is sent, no answer of which the document does not know."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from integrations.admin.examples import MANIFEST
from tests.harness import KEY, Controller
from tests.xcore.archives import tar_gz

MAIN = Path(__file__).parents[2] / "examples" / "hello" / "main.py"
SEED = 20_261_123
PHASES = ("examples", "coverage", "fuzzing", "stateful")
# All checks are on. What they expect of every API and is otherwise here is said operation by operation.
CONFIG = """
generation.max-examples = 10  # of each operation

[checks]
# Wrong keys are limited by address: after a few, the answer is 429. Each route is asked as nobody in api/test_roles.py.
ignored_auth.enabled = false
# A body over a bound is refused by its size, whatever is in it.
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]

[phases.fuzzing]
# A field that is told to be wrong, say `spec` of the manifest in a form, is no part of the form to be tried.
error-feedback.enabled = false

[phases.stateful]
generation.max-examples = 50  # ways through several operations
# Here, fields of a query that nobody knows count as violations, which elsewhere they do not: they are ignored.
checks.negative_data_rejection.enabled = false

[[operations]]
# These are judged by more than a schema can say: the runtime, what is there, the time, scopes that some action asks for.
include-name = ["POST /api/v1/plugins", "PUT /api/v1/plugins/{name}", "PATCH /api/v1/plugins/{name}", "POST /api/v1/keys"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 413, 422, 429]
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 504]

[[operations]]
# Whoever waits for 0.1 s is told 504 WaitTimeout, as the document says.
include-name-regex = "(restart|resume|rollback|DELETE /api/v1/plugins/.name.)$"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 504]

[[operations]]
# A key is revoked, not removed: who it was is still told.
include-name = ["GET /api/v1/keys/{id}", "DELETE /api/v1/keys/{id}"]
checks.use_after_free.enabled = false

[[operations]]
# Its bodies are those of POST, which are 2500 here.
include-name = "PUT /api/v1/plugins/{name}"
phases.coverage.enabled = false
"""


@pytest.fixture
def controller():
    root = Path(tempfile.mkdtemp(prefix="xcore-test-"))
    root.chmod(0o755)
    (root / "plugins").mkdir()
    made = Controller(root / "plugins", root / "state", {"XCORE_RUNTIME": "process"})
    try:
        made.start()
        # Two of the same code: when one is removed, it can be made again of what is known.
        for name in ("hello", "kept"):
            send(made, name)
        made.wait_ready("hello")
        later = made.request("POST", "/app/hello/greet", json={}, headers={"Prefer": "respond-async"})
        assert later.status == 202
        yield made
    finally:
        made.stop()
        shutil.rmtree(root)


def send(controller, name):
    spec = {key: value for key, value in MANIFEST["spec"].items() if key != "source"}
    manifest = json.dumps({**MANIFEST, "metadata": {"name": name}, "spec": spec})
    files = {
        "manifest": ("plugin.json", manifest, "application/json"),
        "archive": ("code", tar_gz({"main.py": MAIN.read_bytes()})),
    }
    sent = controller.request("POST", "/api/v1/plugins", files=files)
    assert sent.status == 201, sent.content
    assert sent.json["spec"]["source"] == MANIFEST["spec"]["source"], "the example names this code"


def run(controller):
    """Schemathesis over all operations of the API, to its end; gives its word and the file with all it sent and got."""
    root = controller.state.parent
    config, told = root / "schemathesis.toml", root / "told.ndjson"
    config.write_text(CONFIG)
    command = [Path(sys.executable).with_name("schemathesis"), "--no-color", "--config-file", config, "run"]
    where = [f"{controller.url}/openapi.json", "-H", f"Authorization: Bearer {KEY}"]
    which = ["--exclude-path-regex", "^/app/", "--phases", ",".join(PHASES), "--seed", SEED]
    bounds = [
        "--request-timeout",
        30,
        "--no-shrink",
        "--continue-on-failure",
        "--suppress-health-check",
        "all",
    ]
    report = ["--report", "ndjson", "--report-ndjson-path", told]
    options = map(str, [*where, *which, *bounds, *report])
    # Elsewhere than here: it keeps what it found beside where it runs.
    done = subprocess.run(
        [*command, *options], cwd=root, capture_output=True, text=True, timeout=480, check=False
    )
    return done, told


def exchanges(told):
    """Each request and its answer, with the phase it was made in."""
    for line in told.read_text().splitlines():
        finished = json.loads(line).get("ScenarioFinished")
        for each in finished["recorder"].get("interactions", {}).values() if finished else ():
            yield finished["phase"], each["request"], each["response"]


@pytest.mark.timeout(500)
def test_whatever_is_sent_the_api_answers_as_it_is_described(controller):
    """Requests made from the document, valid and not, alone and one after the other, by a fixed seed; as an administrator."""
    done, told = run(controller)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    counts, statuses, slowest = Counter(), Counter(), (0.0, "")
    for phase, request, answer in exchanges(told):
        counts[phase] += 1
        statuses[answer["status_code"]] += 1
        if "wait=" not in request["uri"]:
            path = request["uri"].removeprefix(controller.url)
            slowest = max(slowest, (answer["elapsed"], f"{request['method']} {path[:80]}"))
    assert set(PHASES) == set(counts)
    assert sum(counts.values()) > 2000
    assert {status for status in statuses if status >= 500} <= {504}, "whoever waits may be told: not in time"
    links = re.search(r"API Links: .*", done.stdout)
    print(f"\nschemathesis: seed {SEED}, {dict(counts)} requests; answers {dict(sorted(statuses.items()))}")
    print(f"{links and links[0]}; the slowest that did not wait: {slowest[0]:.3f} s, {slowest[1]}")
