"""`xcore db`, as it is typed: an upgrade, a check, a backup, and the way back."""

import json
import subprocess

import pytest

from tests.harness import KEY, XCORE, Controller
from tests.integrations.postgresql import Server
from tests.support import HELLO, document
from tests.xcore.archives import tar_gz


def typed(state, *arguments, **settings):
    environment = {"PATH": "/usr/bin:/bin", "XCORE_STATE_DIR": str(state), "XCORE_KEY": KEY, **settings}
    done = subprocess.run(
        [XCORE, "db", *arguments], check=False, env=environment, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def controller(open_dir):
    (open_dir / "plugins").mkdir()
    made = Controller(open_dir / "plugins", open_dir / "state", {"XCORE_RUNTIME": "process"})
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


def plugins(controller):
    return [item["metadata"]["name"] for item in controller.request("GET", "/api/v1/plugins").json["items"]]


def test_a_plugin_deleted_after_a_backup_is_back_after_the_restore(controller, tmp_path):
    """A backup is taken while the controller serves; a restore wants it stopped, and says so."""
    controller.start()
    sent = {
        "files": {
            "manifest": ("m", json.dumps(document("hello")), "application/json"),
            "archive": ("a", tar_gz({"main.py": HELLO.encode()})),
        }
    }
    assert controller.request("POST", "/api/v1/plugins", **sent).status == 201
    assert typed(controller.state, "backup", str(tmp_path / "b.db"))[0] == 0
    assert controller.request("DELETE", "/api/v1/plugins/hello").status == 202
    code, _, told = typed(controller.state, "restore", str(tmp_path / "b.db"))
    assert (code, told) == (1, "DatabaseUnavailable: a controller is using the database; stop it first\n")
    controller.stop()
    code, out, _ = typed(controller.state, "restore", str(tmp_path / "b.db"), "-o", "json")
    assert code == 0
    assert json.loads(out)["kept"].startswith(f"{controller.state}/xcore.db.before-")
    assert typed(controller.state, "check")[0] == 0
    controller.start()
    assert plugins(controller) == ["hello"]


def test_a_server_is_upgraded_by_the_command_and_not_by_a_start(controller, tmp_path):
    """A controller on an empty PostgreSQL exits with the command to type; after it, it starts."""
    server = Server()
    try:
        server.start()
        url = {"XCORE_DATABASE_URL": server.url()}
        controller.settings.update(url)
        controller.start(ready=False)
        assert controller.process.wait(60) == 1
        assert "run `xcore db upgrade`" in controller.log.read_text()
        code, out, _ = typed(controller.state, "check", **url)
        assert (code, "no tables" in out) == (1, True)
        assert typed(controller.state, "upgrade", **url)[0] == 0
        assert json.loads(typed(controller.state, "upgrade", "-o", "json", **url)[1])["before"] != ""
        assert typed(controller.state, "check", **url)[0] == 0
        code, _, told = typed(controller.state, "backup", str(tmp_path / "b"), **url)
        assert (code, "pg_dump" in told) == (4, True)
        controller.start()
        assert plugins(controller) == []
        controller.stop()
    finally:
        server.remove()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["backup"], "xcore db backup needs the path of a FILE"),
        (["check", "x"], "xcore db check takes no FILE"),
        (["restore", "/nowhere.db"], "there is no database nowhere.db"),
        (["check"], "there is no database xcore.db"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(tmp_path, arguments, sentence):
    """Nothing is made by a command that only looks."""
    code, _, told = typed(tmp_path, *arguments)
    assert code in {1, 2}
    assert sentence in told
    assert list(tmp_path.iterdir()) == []
