"""Plugins sent to a real controller: what comes over HTTP is carried out once, or refused in words, and never 5xx."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.harness import KEY, Answer, Controller, until
from tests.support import HELLO, document, write_plugin
from tests.xcore.archives import tar_gz, zipped

AT = "/api/v1/plugins"
MIB = 1024 * 1024
MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture
def controller(running: Controller) -> Iterator[Controller]:
    yield running
    for item in running.request("GET", AT).json["items"]:
        running.request("DELETE", f"{AT}/{item['metadata']['name']}", params={"wait": "Gone"})


def form(name: str = "hello", *, archive: bytes | None = None, **spec: Any) -> dict[str, Any]:
    content = tar_gz({"main.py": HELLO.encode()}) if archive is None else archive
    return {
        "manifest": ("plugin.json", json.dumps(document(name, **spec)), "application/json"),
        "archive": ("code", content),
    }


def test_a_plugin_that_is_sent_serves_and_goes_again(controller: Controller) -> None:
    made = controller.request("POST", AT, params={"wait": "Ready"}, files=form())
    assert (made.status, made.headers["location"]) == (201, f"{AT}/hello")
    assert made.headers["etag"] == f'"{made.json["metadata"]["resourceVersion"]}"'
    assert controller.call("hello", "greet", {"name": "Ada"}).json == "Hello Ada"
    same = controller.request("PUT", f"{AT}/hello", files=form(archive=zipped({"main.py": HELLO.encode()})))
    assert (same.status, same.headers["etag"]) == (200, made.headers["etag"]), "packed otherwise, the same"
    gone = controller.request("DELETE", f"{AT}/hello", params={"wait": "Gone"})
    assert (gone.status, gone.json["metadata"]["name"]) == (200, "hello")
    assert controller.request("GET", f"{AT}/hello").reason == "PluginNotFound"
    assert controller.call("hello", "greet").reason == "PluginNotFound"


def test_changes_roll_and_revisions_can_be_gone_back_to(controller: Controller) -> None:
    controller.request("PUT", f"{AT}/hello", params={"wait": "Ready", "note": "first"}, files=form())
    other = tar_gz({"main.py": HELLO.replace("Hello {", "Hi {").encode()})
    controller.request("PUT", f"{AT}/hello", params={"wait": "Ready"}, files=form(archive=other))
    assert controller.call("hello", "greet").json == "Hi world"
    patch = json.dumps({"spec": {"version": "2.0.0"}})
    controller.request("PATCH", f"{AT}/hello", content=patch, headers=MERGE)
    back = controller.request(
        "POST", f"{AT}/hello/rollback", json={"revision": 1.0}, params={"wait": "Ready"}
    )
    assert (back.status, controller.call("hello", "greet").json) == (200, "Hello world")
    items = controller.request("GET", f"{AT}/hello/revisions").json["items"]
    told = [(i["revision"], i["how"], i["by"], i["note"], i["wanted"]) for i in items]
    assert told == [
        (4, "rollback", "admin", "to revision 1", True),
        (3, "patch", "admin", "", False),
        (2, "update", "admin", "", False),
        (1, "create", "admin", "first", False),
    ]
    assert (
        controller.request("POST", f"{AT}/hello/rollback", json={"revision": 9}).reason == "RevisionNotFound"
    )


def test_a_change_is_made_only_to_what_was_read(controller: Controller) -> None:
    made = controller.request("PUT", f"{AT}/hello", files=form(), headers={"if-none-match": "*"})
    assert made.status == 201
    again = controller.request("PUT", f"{AT}/hello", files=form(), headers={"if-none-match": "*"})
    assert (again.status, again.reason) == (412, "PreconditionFailed")
    tag = {"if-match": made.headers["etag"]}
    assert controller.request("PUT", f"{AT}/hello", files=form(version="2.0.0"), headers=tag).status == 200
    late = controller.request("DELETE", f"{AT}/hello", headers=tag)
    assert (late.status, late.reason) == (412, "PreconditionFailed")
    for value in ('W/"x"', '"a", "b"'):
        assert controller.request("DELETE", f"{AT}/hello", headers={"if-match": value}).status == 412
    assert controller.request("DELETE", f"{AT}/hello", headers={"if-match": "x"}).status == 400


def test_a_command_is_carried_out_only_on_what_was_read(controller: Controller) -> None:
    """Sent plugins and those of folders alike."""
    folder = write_plugin(controller.plugins / "folder")
    controller.wait_ready("folder")
    controller.request("PUT", f"{AT}/hello", files=form(), params={"wait": "Ready"})
    for name in ("hello", folder.name):
        for command in ("restart", "suspend", "resume"):
            at = f"{AT}/{name}/{command}"
            tag = controller.request("GET", f"{AT}/{name}").headers["etag"]
            stale = controller.request("POST", at, headers={"if-match": '"other"'})
            assert (stale.status, stale.reason) == (412, "PreconditionFailed")
            assert controller.request("POST", at, headers={"if-match": "x"}).status == 400
            assert controller.request("POST", at, headers={"if-match": tag}).status == 202
    assert controller.request("POST", f"{AT}/none/restart", headers={"if-match": "*"}).status == 404
    shutil.rmtree(folder)
    until(lambda: controller.request("GET", f"{AT}/folder").status == 404)


def test_who_waits_in_vain_is_told_what_stands_in_the_way(controller: Controller) -> None:
    """The plugin's own trouble; where an older revision serves on, that of the newest."""
    broken = tar_gz({"main.py": b"raise RuntimeError('it cannot be loaded')"})
    waiting = {"wait": "Ready", "timeoutSeconds": 30}
    first = controller.request("PUT", f"{AT}/hello", params=waiting, files=form())
    assert first.status == 201
    second = controller.request("PUT", f"{AT}/hello", params=waiting, files=form(archive=broken))
    assert (second.status, second.reason) == (504, "WaitTimeout")
    assert "hello did not become Ready, in 30 s at most: RolledBack" in second.json["detail"]
    assert "it cannot be loaded" in second.json["detail"]
    assert controller.call("hello", "greet").json == "Hello world"


def test_an_order_with_a_key_is_carried_out_once_also_over_a_restart(controller: Controller) -> None:
    key = {"idempotency-key": f'"{os.urandom(8).hex()}"'}
    first = controller.request("POST", AT, files=form(), headers=key)
    again = controller.request("POST", AT, files=form(), headers=key)
    assert (again.status, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    other = controller.request("POST", AT, files=form(version="2.0.0"), headers=key)
    assert (other.status, other.reason) == (422, "InvalidArguments")
    controller.kill()
    controller.start()
    assert controller.request("POST", AT, files=form(), headers=key).content == first.content
    restarting = {"idempotency-key": os.urandom(8).hex()}
    for _ in range(2):
        answer = controller.request(
            "POST", f"{AT}/hello/restart", params={"wait": "Ready"}, headers=restarting
        )
        assert answer.status == 200
    generation = answer.json["metadata"]["generation"]
    assert controller.resource("hello")["metadata"]["generation"] == generation, "restarted once"


def test_the_same_key_at_the_same_time_is_told_to_wait(controller: Controller) -> None:
    key = {"idempotency-key": os.urandom(8).hex()}
    answers: list[Answer] = []

    def send() -> None:
        answers.append(controller.request("POST", AT, files=form(), params={"wait": "Ready"}, headers=key))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sorted(answer.status for answer in answers)
    assert statuses[0] == 201
    assert set(statuses) <= {201, 409}
    assert len(controller.request("GET", f"{AT}/hello/revisions").json["items"]) == 1


BOUNDARY = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
DEEP = b'{"a":' * 2000 + b"1" + b"}" * 2000
MALFORMED = {
    "nothing": (b"", "application/json", 422),
    "no kind": (b"{}", "", 415),
    "other kind": (b"x", "text/plain", 415),
    "urlencoded": (b"a=b", "application/x-www-form-urlencoded", 415),
    "JSON text": (b'"x"', "application/json", 422),
    "NaN": (b'{"spec": NaN}', "application/json", 422),
    "deep": (DEEP, "application/json", 422),
    "long number": (b"9" * 5000, "application/json", 422),
    "surrogate": (b'"\\ud800"', "application/json", 422),
    "not UTF-8": (b"\xff\xfe", "application/json", 422),
    "huge JSON": (b" " * 70_000, "application/json", 413),
    "YAML tag": (b"!!python/object:os.system x", "application/yaml", 422),
    "YAML bomb": (b"a: &a [x]\nb: [*a, *a]", "application/yaml", 422),
    "huge YAML": (b"a" * 20 * MIB, "application/yaml", 413),
    "no boundary": (b"x", "multipart/form-data", 400),
    "long boundary": (b"x", f"multipart/form-data; boundary={'b' * 300}", 400),
    "no parts": (b"--b--\r\n", BOUNDARY, 422),
    "not a form": (b"nonsense", BOUNDARY, 400),
    "cut off": (PART % (b"manifest", b"{}"), BOUNDARY, 400),
    "unknown part": (PART % (b"evil", b"x") + b"--b--\r\n", BOUNDARY, 400),
    "part twice": (PART % (b"manifest", b"{}") * 2 + b"--b--\r\n", BOUNDARY, 400),
    "part without a name": (b"--b\r\n\r\nx\r\n--b--\r\n", BOUNDARY, 400),
    "many heads": (b"--b\r\n" + b"A: b\r\n" * 50 + b"\r\nx\r\n--b--\r\n", BOUNDARY, 400),
    "long head": (b"--b\r\nA: " + b"b" * 9000 + b"\r\n\r\nx\r\n--b--\r\n", BOUNDARY, 400),
    "large manifest": (PART % (b"manifest", b"x" * 70_000) + b"--b--\r\n", BOUNDARY, 413),
    "no archive": (PART % (b"archive", b"nonsense") + b"--b--\r\n", BOUNDARY, 422),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_whatever_is_sent_the_answer_says_what_is_wrong(controller: Controller, name: str) -> None:
    body, kind, status = MALFORMED[name]
    for method, path in (("POST", AT), ("PUT", f"{AT}/hello")):
        answer = controller.request(method, path, content=body, headers={"content-type": kind})
        assert answer.status == status, answer.content
        assert answer.json["reason"] == answer.reason
    assert controller.request("GET", AT).json["items"] == []


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 422, "is not JSON"),
        (b"[]", 422, "must be a whole number"),
        (b"{}", 422, "must be a whole number"),
        (b'{"revision": "1"}', 422, "must be a whole number"),
        (b'{"revision": true}', 422, "must be a whole number"),
        (b'{"revision": 0}', 422, "must be a whole number"),
        (b'{"revision": 1, "other": 1}', 422, "must be a whole number"),
        (b'{"revision": 1e400}', 422, "too large for a double"),
        (b'{"revision": 1, "revision": 2}', 422, "twice"),
        (b'{"revision": %s}' % (b"9" * 5000), 422, "beyond 64 bits"),
        (b'{"revision": "\xff"}', 422, "must be UTF-8"),
        (DEEP, 422, "nested deeper"),
        (b" " * 70_000, 413, "over 65536 bytes"),
    ],
)
def test_a_rollback_says_what_it_wants_or_is_refused(
    controller: Controller, body: bytes, status: int, says: str
) -> None:
    controller.request("POST", AT, files=form())
    answer = controller.request(
        "POST", f"{AT}/hello/rollback", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status == status
    assert says in answer.content.decode()
    other = controller.request(
        "POST", f"{AT}/hello/rollback", content=body, headers={"content-type": "text/plain"}
    )
    assert (other.status, other.reason) == (415, "UnsupportedMediaType")


def test_a_patch_that_is_none_is_refused(controller: Controller) -> None:
    controller.request("POST", AT, files=form())
    wrong = controller.request("PATCH", f"{AT}/hello", content=b"a: 1", headers={"content-type": "text/yaml"})
    assert (wrong.status, wrong.reason) == (415, "UnsupportedMediaType")
    refused = controller.request("PATCH", f"{AT}/hello", content=b'{"spec": null}', headers=MERGE)
    assert (refused.status, refused.reason) == (422, "InvalidManifest")
    assert refused.json["errors"] == [{"field": "spec", "message": "is required"}]


def test_a_large_upload_neither_fills_memory_nor_holds_up_others(controller: Controller) -> None:
    controller.request("PUT", f"{AT}/small", params={"wait": "Ready"}, files=form("small"))
    content = tar_gz({"main.py": HELLO.encode(), "big": os.urandom(60 * MIB)})
    before, most, slowest = controller.memory(), 0, 0.0
    sending = threading.Thread(
        target=controller.request, args=("PUT", f"{AT}/hello"), kwargs={"files": form(archive=content)}
    )
    sending.start()
    with controller.client() as client:
        while sending.is_alive():
            answer = client.post("/app/small/greet", json={})
            slowest = max(slowest, answer.elapsed.total_seconds())
            most = max(most, controller.memory())
            assert answer.status_code == 200
    sending.join()
    assert controller.request("GET", f"{AT}/hello").status == 200
    assert most - before <= 32 * MIB
    assert slowest <= 1.0


def test_an_upload_that_is_too_large_is_refused_while_it_comes(controller: Controller) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="archive"\r\n\r\n'
        for _ in range(66):
            yield bytes(MIB)

    refused = controller.request("POST", AT, content=pieces(), headers={"content-type": BOUNDARY})
    assert (refused.status, refused.reason) == (413, "BodyTooLarge")
    with socket.create_connection(("127.0.0.1", controller.port), timeout=10) as raw:
        head = f"POST {AT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {BOUNDARY}\r\n"
        raw.sendall(f"{head}Content-Length: {2**40}\r\n\r\n".encode())
        assert b" 413 " in raw.recv(100), "told before anything of it is sent"


def test_openapi_describes_what_may_be_sent_and_is_valid(controller: Controller) -> None:
    described = controller.request("GET", "/openapi.json").json
    validate(described)
    sent = described["paths"][AT]["post"]["requestBody"]["content"]
    assert set(sent) == {"application/json", "application/yaml", "multipart/form-data"}
    assert "spec" in described["components"]["schemas"]["PluginManifest"]["properties"]
