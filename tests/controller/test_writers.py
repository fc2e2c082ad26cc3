"""Many clients write at once, and nobody hears of a lock."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.controller.test_db import typed
from tests.support import HELLO, document
from tests.xcore.archives import tar_gz

CLIENTS = 50


def post(http, manifest, headers):
    """Send it until it is its turn: four bodies are received at once."""
    for _ in range(1000):
        answer = http.post("/api/v1/plugins", json=manifest, headers=headers)
        if answer.status_code != 429:
            return answer
        time.sleep(0.05)
    raise AssertionError(answer.json())


@pytest.mark.timeout(400)
def test_fifty_clients_write_at_once_and_a_backup_is_taken_meanwhile(running, tmp_path):
    """Each makes a plugin, changes it and sends its first order again: all are answered, once, and the backup is whole."""
    sent = {
        "manifest": ("m", json.dumps(document("first", operatingMode="Suspended")), "application/json"),
        "archive": ("a", tar_gz({"main.py": HELLO.encode()})),
    }
    source = running.request("POST", "/api/v1/plugins", files=sent).json["spec"]["source"]

    def client(number):
        name = f"plugin-{number}"
        manifest = document(name, operatingMode="Suspended", source=source)
        key = {"Idempotency-Key": f"once-{number}"}
        path, patch = f"/api/v1/plugins/{name}", {"content-type": "application/merge-patch+json"}
        change = json.dumps({"spec": {"description": "changed"}})
        with running.client() as http:
            made = post(http, manifest, key)
            changed = http.patch(path, content=change, headers=patch)
            again = post(http, manifest, key)
            revisions = http.get(f"{path}/revisions").json()
        assert (made.status_code, changed.status_code, again.status_code) == (201, 200, 201), (
            made.text,
            changed.text,
        )
        return again.json() == made.json(), len(revisions["items"])

    with ThreadPoolExecutor(CLIENTS) as clients:
        told = [clients.submit(client, number) for number in range(CLIENTS)]
        backup = typed(running.state, "backup", str(tmp_path / "backup.db"))
        outcomes = {each.result() for each in told}
    assert outcomes == {(True, 2)}
    assert backup[0] == 0, backup
