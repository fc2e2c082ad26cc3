"""Sends a plugin to the controller, calls it and deletes it, as somebody outside would. Run by `helm test`."""

import io
import json
import os
import secrets
import sys
import tarfile

import httpx

CODE = b"""
from xcore.plugin import Plugin, action

class RoundTrip(Plugin):
    @action
    async def echo(self, word: str) -> str:
        return word
"""
SECONDS = 120
# Connecting again for 15 s: right after an installation, nodes may not know the Service yet.
CONNECTING = httpx.HTTPTransport(retries=6)


def archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("main.py")
        member.size = len(CODE)
        tar.addfile(member, io.BytesIO(CODE))
    return packed.getvalue()


def answered(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        sys.exit(f"{answer.request.method} {answer.url.path}: {answer.status_code} {answer.text}")
    return answer


name = f"round-trip-{secrets.token_hex(3)}"
manifest = {
    "apiVersion": "xcore.dev/v1alpha1",
    "kind": "Plugin",
    "metadata": {"name": name},
    "spec": {"version": "1.0.0", "entrypoint": "main:RoundTrip"},
}
key = {"Authorization": f"Bearer {os.environ['XCORE_KEY']}"}
waiting = {"timeoutSeconds": SECONDS}
url = os.environ["XCORE_URL"]
with httpx.Client(base_url=url, headers=key, timeout=SECONDS + 10, transport=CONNECTING) as controller:
    parts = {
        "manifest": ("plugin.json", json.dumps(manifest), "application/json"),
        "archive": ("code.tar.gz", archive(), "application/gzip"),
    }
    answered(controller.post("/api/v1/plugins", params={"wait": "Ready", **waiting}, files=parts))
    try:
        word = secrets.token_hex(8)
        reply = answered(controller.post(f"/app/{name}/echo", json={"word": word})).json()
    finally:
        answered(controller.delete(f"/api/v1/plugins/{name}", params={"wait": "Gone", **waiting}))
if reply != word:
    sys.exit(f"{name} answered {reply!r}, not {word!r}")
print(f"{name} was sent, started, called and deleted")
