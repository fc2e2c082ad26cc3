"""What tests of many modules share: plugins written into a folder, and workloads made of them."""

import asyncio
import hashlib
import json
import textwrap
import time
from pathlib import Path

from xcore.errors import UpstreamError
from xcore.manifest import API_VERSION, from_dict, parse
from xcore.workload import Workload

HELLO = '''
from xcore.plugin import Plugin, action

class Hello(Plugin):
    @action
    async def greet(self, name: str = "world") -> str:
        """Greet someone."""
        return f"Hello {name}"
'''


def document(name="hello", **spec):
    """The smallest Plugin resource, with these fields of `spec` beside it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Plugin",
        "metadata": {"name": name},
        "spec": {"version": "1.0.0", "entrypoint": "main:Hello", **spec},
    }


def manifest(name="hello", **spec):
    return from_dict(document(name, **spec))


def write_plugin(folder, code=HELLO, /, *, name=None, files=None, **spec):
    """Write `plugin.yaml`, `main.py` and `files` ({path: text}); the plugin is called like its folder unless named."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    (folder / "plugin.yaml").write_text(json.dumps(document(name or folder.name, **spec)))
    for path, text in {"main.py": code, **(files or {})}.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text))
    return folder


def workload(folder, *, generation=1):
    """The plugin in a folder as a Workload; its revision follows what its files hold."""
    folder = Path(folder)
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.read_bytes())
    declared = parse((folder / "plugin.yaml").read_bytes(), name="plugin.yaml")
    return Workload(declared, digest.hexdigest(), generation, folder)


async def until(condition, *, seconds=10.0, what="the condition"):
    """Wait for a real child or thread: returns the first true value of `condition()`, sync or async."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds:g} s"
        await asyncio.sleep(0.01)


async def answers(endpoint, path="/startup", *, status=200, seconds=10.0):
    """Wait until an endpoint answers so; returns the body."""

    async def asked():
        try:
            got, body = await endpoint.get(path, seconds=2, limit=65536)
        except UpstreamError:
            return None
        return (body,) if got == status else None

    return (await until(asked, seconds=seconds, what=f"{status} from {path}"))[0]


async def call(endpoint, path, arguments=None, *, plugin="hello"):
    """POST an action over the endpoint's socket; returns (status, parsed body)."""
    reader, writer = await asyncio.open_connection(sock=endpoint.dial())
    body = json.dumps(arguments or {}).encode()
    head = f"POST /app/{plugin}/{path} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


async def lines_of(engine, instance, *, lines=10_000):
    return [line.text async for line in engine.logs(instance, lines=lines, follow=False)]
