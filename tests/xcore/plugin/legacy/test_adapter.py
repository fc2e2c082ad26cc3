"""Plugins of the old system, as they were written, behind today's host."""

import contextlib
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from xcore.plugin.calling import CallFailed, Reply, nobody
from xcore.plugin.contract import Context
from xcore.plugin.host import Legacy, RateLimit, Spec
from xcore.plugin.legacy.adapter import adapt
from xcore.plugin.legacy.calls import Bucket
from xcore.plugin.legacy.package import OldPackage, place
from xcore.plugin.testing import serve

V0 = {"accept": "application/vnd.xcore.v0+json"}
JSON = {"content-type": "application/json"}
ADA = b'{"name": "Ada"}'

BY_HANDLE = """
    class Plugin:
        def __init__(self):
            self.loaded = False

        async def on_load(self):
            self.loaded = True

        async def handle(self, action, payload):
            if action == "greet":
                return {"status": "ok", "msg": f"Hello {payload.get('name', 'world')}", "loaded": self.loaded}
            if action == "bare":
                return [1, 2]
            if action == "raise":
                raise ValueError("no")
            return {"status": "error", "code": "not_found", "msg": f"no {action}"}
"""

BY_ROUTES = """
    from fastapi import APIRouter, HTTPException, Request
    from pydantic import BaseModel

    PLUGIN_INFO = {
        "name": "Guests", "version": "1.0.0", "author": "A", "Api_prefix": "/app/guests",
        "tag_for_identified": ["guests"],
    }
    router = APIRouter(prefix=PLUGIN_INFO["Api_prefix"], tags=PLUGIN_INFO["tag_for_identified"])

    class Guest(BaseModel):
        name: str

    class Plugin:
        @router.get("/")
        @staticmethod
        def run(request: Request, name: str = "world"):
            return {"hello": name, "path": request.url.path}

        @router.get("/missing")
        @staticmethod
        def missing():
            raise HTTPException(404, "nobody of that name")

        @router.post("/add")
        @staticmethod
        async def add(guest: Guest):
            return {"added": guest.name}
"""


@pytest.fixture
def old(tmp_path):
    """Serve the `Plugin` of `main.py`; `files` lie beside it."""
    made = []

    @contextlib.asynccontextmanager
    async def begin(
        code, *, name="old", config=None, files=None, entrypoint="main:Plugin", calls=nobody, **legacy
    ):
        number = len(made)
        folder = tmp_path / str(number) / place(entrypoint).folder
        folder.mkdir(parents=True)
        for path, text in {f"{place(entrypoint).module}.py": code, **(files or {})}.items():
            (folder / path).write_text(textwrap.dedent(text))
        package = f"legacy_test_{number}"
        made.append(package)
        spec = Spec(name, entrypoint, "1.2.3", config or {}, Legacy(**legacy))
        context = Context(name, "1.2.3", config or {}, calls=calls)
        app = adapt(spec, context, OldPackage(package, folder).load)
        async with serve(app, name=name, version="1.2.3", config=config or {}) as client:
            yield client

    yield begin
    for module in [m for m in sys.modules if m.split(".")[0] in made]:
        del sys.modules[module]


async def test_an_action_answers_todays_form(old):
    """The body is the payload, what `handle` returns is the answer; `on_load` was before."""
    async with old(BY_HANDLE) as client:
        answer = {"status": "ok", "msg": "Hello Ada", "loaded": True}
        assert await client.call("greet", name="Ada") == (200, answer)
        assert await client.call("bare") == (200, [1, 2])


async def test_an_action_answers_the_old_envelope_to_whoever_asks_for_it(old):
    """`{"payload"}` in; status, plugin, action and result out, in the type that was asked for."""
    async with old(BY_HANDLE) as client:
        reply = await client.request("POST", "greet", body=b'{"payload": {"name": "Ada"}}', headers=V0)
        result = {"status": "ok", "msg": "Hello Ada", "loaded": True}
        assert reply == (200, {"status": "ok", "plugin": "old", "action": "greet", "result": result})
        assert client.headers["content-type"] == "application/vnd.xcore.v0+json"


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/vnd.xcore.v0+json;q=0.5, application/json", ""]
)
async def test_nobody_else_gets_the_old_envelope(old, accept):
    """Whoever takes anything is answered as by any plugin."""
    async with old(BY_HANDLE) as client:
        reply = await client.request("POST", "bare", headers={"accept": accept})
        assert reply == (200, [1, 2])


async def test_a_plugin_set_to_the_old_envelope_answers_it_always(old):
    """Old clients ask for nothing: `spec.legacy.envelope` is for them, and the type is the one they know."""
    async with old(BY_HANDLE, envelope="V0") as client:
        reply = await client.request("POST", "bare", body=b'{"payload": {}}', headers={"accept": "*/*"})
        result = {"status": "ok", "result": [1, 2]}
        assert reply == (200, {"status": "ok", "plugin": "old", "action": "bare", "result": result})
        assert client.headers["content-type"] == "application/json"


async def test_what_the_plugin_calls_an_error_is_its_answer(old):
    """The dictionary of an error is an answer in today's form, and the envelope's status in the old one."""
    async with old(BY_HANDLE) as client:
        failure = {"status": "error", "code": "not_found", "msg": "no such"}
        assert await client.call("such") == (200, failure)
        status, body = await client.request("POST", "such", headers=V0)
        assert (status, body["status"], body["result"]) == (200, "error", failure)


async def test_an_exception_is_told_in_the_form_that_was_asked_for(old):
    """500 in both; the sentence holds nothing of the plugin's inside."""
    async with old(BY_HANDLE) as client:
        status, problem = await client.call("raise")
        assert (status, problem["reason"], problem["component"]) == (500, "ActionFailed", "plugin")
        status, body = await client.request("POST", "raise", headers=V0)
        assert (status, body["status"], body["action"]) == (500, "error", "raise")
        assert body["result"] == {"status": "error", "code": "ActionFailed", "msg": problem["detail"]}
        assert "no" not in problem["detail"].split()


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "MalformedRequest"),
        (b"\xff", 400, "MalformedRequest"),
        (b"[]", 422, "InvalidArguments"),
        (b'{"payload": 3}', 422, "InvalidArguments"),
    ],
)
async def test_a_body_that_is_no_payload_is_refused_in_the_old_envelope(old, body, status, reason):
    """With the status any client understands, and the reason in the result."""
    async with old(BY_HANDLE, envelope="V0") as client:
        got, answer = await client.request("POST", "greet", body=body)
        assert (got, answer["status"], answer["result"]["code"]) == (status, "error", reason)


async def test_an_action_that_takes_too_long_fails(old):
    """`timeoutSeconds` ends it, and the answer says so; a TimeoutError of the plugin's own is just a failure."""
    code = """
        import asyncio

        class Plugin:
            async def handle(self, action, payload):
                if action == "own":
                    raise TimeoutError("mine")
                await asyncio.Event().wait()
    """
    async with old(code, timeout_seconds=0.05) as client:
        status, problem = await client.call("wait")
        assert (status, problem["detail"]) == (500, "the action wait did not end within 0.05 s")
        status, problem = await client.call("own")
        assert (status, "raised an exception" in problem["detail"]) == (500, True)


async def test_calls_beyond_the_limit_are_refused(old):
    """429, and after how long to come again."""
    async with old(BY_HANDLE, rate_limit=RateLimit(2, 60)) as client:
        assert [(await client.call("bare")).status for _ in range(3)] == [200, 200, 429]
        assert client.headers["retry-after"] == "30"


async def test_what_is_no_action_is_said_to_be_none(old):
    """Other methods and deeper paths of a plugin without a router."""
    async with old(BY_HANDLE) as client:
        assert await client.get("") == (200, {"name": "old", "version": "1.2.3", "kind": "legacy"})
        assert (await client.get("greet")).status == 405
        assert client.headers["allow"] == "POST"
        assert (await client.request("POST", "a/b")).body["reason"] == "ActionNotFound"


async def test_a_plugin_derived_from_the_old_base_class_finds_what_it_was_given(old):
    """`xcore.sdk` is there with its base class, answers and dispatch; `ctx` holds the configuration."""
    code = """
        from xcore.sdk import AutoDispatchMixin, TrustedBase, action, error, ok

        class Plugin(AutoDispatchMixin, TrustedBase):
            async def on_load(self):
                self.unit = self.ctx.config["unit"]
                self.logger.info("loaded")

            @action("convert", permissions=["any"])
            async def convert(self, payload):
                return ok(value=payload["value"], unit=self.unit, limit=self._config["limit"])

            @action("store")
            async def store(self, payload):
                try:
                    self.get_service("db")
                except KeyError as missing:
                    return error(str(missing), code="no_service")
    """
    async with old(code, config={"unit": "km", "configuration": {"limit": 3}}) as client:
        assert (await client.call("convert", value=1)).body == {
            "status": "ok",
            "value": 1,
            "unit": "km",
            "limit": 3,
        }
        assert (await client.call("store")).body["code"] == "no_service"
        assert (await client.call("none")).body["code"] == "unknown_action"


async def test_an_old_plugin_calls_another_as_it_did(old):
    """By its old name, with the payload alone; a refusal is the old kind of error."""
    code = """
        from xcore.sdk import TrustedBase

        class Plugin(TrustedBase):
            async def handle(self, action, payload):
                return await self.call_plugin("Other_Plugin", action, payload)
    """
    heard = []

    async def carry(target, body, media_type):
        heard.append((target, body))
        if target.endswith("refused"):
            raise CallFailed(403, "Forbidden", "the operator has not granted it")
        return Reply(200, {"content-type": "application/json"}, b'{"status": "ok"}')

    async with old(code, calls=carry) as client:
        assert (await client.call("greet", name="Ada")).body == {"status": "ok"}
        told = {"status": "error", "msg": "the operator has not granted it", "code": "Forbidden"}
        assert (await client.call("refused")).body == told
    assert heard[0] == ("other-plugin/greet", b'{"name":"Ada"}')


async def test_old_imports_work_with_and_without_a_dot(old, monkeypatch):
    """The entry's folder is a package and on the path, as it was; its `__init__` runs first."""
    code = """
        from . import GREETING
        from .words import say

        class Plugin:
            async def handle(self, action, payload):
                return {"said": say(GREETING)}
    """
    files = {"__init__.py": "GREETING = 'Hello'", "words.py": "def say(word):\n    return word + '!'"}
    async with old(code, files=files, entrypoint="src.entry:Plugin") as client:
        assert (await client.call("any")).body == {"said": "Hello!"}


async def test_a_router_beside_handle_answers_where_it_says(old):
    """Routes go first, whatever they do not take is an action."""
    code = """
        from fastapi import APIRouter

        items = APIRouter(prefix="/items")

        @items.get("/{number}")
        def item(number: int):
            return {"item": number}

        class Plugin:
            @property
            def router(self):
                return items

            async def handle(self, action, payload):
                return {"action": action}
    """
    async with old(code) as client:
        assert await client.get("items/3") == (200, {"item": 3})
        assert (await client.get("items/x")).status == 422
        assert await client.call("ping") == (200, {"action": "ping"})
        document = await client.fetch("/openapi")
        assert "/items/{number}" in document.body["paths"]


async def test_a_plugin_of_routes_answers_where_it_did(old):
    """Its prefix was its path, and still is."""
    async with old(BY_ROUTES, name="guests") as client:
        assert await client.get("") == (200, {"hello": "world", "path": "/app/guests/"})
        assert await client.request("POST", "add", body=ADA, headers=JSON) == (200, {"added": "Ada"})
        assert await client.get("missing") == (404, {"detail": "nobody of that name"})


async def test_run_is_an_action_in_both_forms(old):
    """The payload gives its plain parameters; the old envelope holds what it returns."""
    async with old(BY_ROUTES, name="guests") as client:
        status, body = await client.call("run", name="Ada")
        assert (status, body["hello"]) == (200, "Ada")
        status, body = await client.request("POST", "run", body=b'{"payload": {"name": "Bo"}}', headers=V0)
        assert (status, body["status"], body["plugin"], body["action"]) == (200, "ok", "guests", "run")
        assert body["result"]["hello"] == "Bo"


async def test_a_plugin_of_routes_with_another_prefix_answers_at_its_name(old):
    """Whatever the router's prefix was, it stands for the plugin's path."""
    async with old(BY_ROUTES, name="visitors") as client:
        assert await client.get("") == (200, {"hello": "world", "path": "/app/visitors/app/guests/"})
        assert await client.get("app/guests/") == await client.get("")
        assert await client.request("POST", "add", body=ADA, headers=JSON) == (200, {"added": "Ada"})
        assert "/add" in (await client.fetch("/openapi")).body["paths"]


async def test_run_without_a_router_takes_its_payload_by_name(old):
    """And refuses what it has no parameter for."""
    code = """
        PLUGIN_INFO = {"name": "adder", "version": "1", "author": "A"}

        class Plugin:
            def run(self, a, b=1):
                return {"sum": a + b}
    """
    async with old(code) as client:
        assert await client.call("run", a=2) == (200, {"sum": 3})
        assert (await client.call("run", c=2)).body["reason"] == "InvalidArguments"
        assert (await client.call("other")).status == 404


@pytest.mark.parametrize("code", ["class Plugin: pass", "x = 1", "def Plugin(): return 1"])
async def test_a_module_without_an_old_plugin_is_refused(old, code):
    """With a sentence that says what was looked for."""
    with pytest.raises(TypeError, match="no plugin of the old system"):
        async with old(code):
            pass


async def test_a_failing_on_load_fails_the_start(old):
    """With the plugin's own exception."""
    code = """
        class Plugin:
            async def on_load(self):
                raise RuntimeError("no data")

            async def handle(self, action, payload):
                return {}
    """
    with pytest.raises(RuntimeError, match="no data"):
        async with old(code):
            pass


async def test_on_unload_runs_at_the_end(old, tmp_path):
    """Once, after the last request."""
    code = f"""
        from pathlib import Path

        class Plugin:
            async def on_unload(self):
                Path({str(tmp_path / "left")!r}).write_text("left")

            async def handle(self, action, payload):
                return {{}}
    """
    async with old(code):
        assert not (tmp_path / "left").exists()
    assert (tmp_path / "left").read_text() == "left"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.binary(max_size=40)
    | st.sampled_from([b"", b"{}", b'{"payload": {}}', b'{"payload": null}', b"[" * 5000]),
    st.sampled_from(
        ["", "*/*", V0["accept"], "application/json;q=0.1, application/vnd.xcore.v0+json", ",;q=x"]
    ),
    st.sampled_from(["greet", "bare", "raise", "none", "a%2Fb", "é"]),
    st.booleans(),
)
async def test_whatever_is_sent_is_answered_in_one_form_or_the_other(old, body, accept, action, always):
    """With a status that fits, and never with both forms mixed."""
    async with old(BY_HANDLE, envelope="V0" if always else "Current") as client:
        status, answer = await client.request("POST", action, body=body, headers={"accept": accept})
    assert status in {200, 400, 422, 500}
    if always or "v0" in accept:
        assert answer.keys() == {"status", "plugin", "action", "result"}
        assert answer["status"] == ("error" if status >= 400 else answer["result"]["status"])
    elif status >= 400:
        assert answer["status"] == status


@given(st.integers(1, 20), st.floats(1, 100), st.lists(st.floats(0, 30), max_size=60))
def test_never_more_calls_than_the_limit_and_what_time_has_added(calls, period, waits):
    """Over any length of time; and after the wait that was told there is a place."""
    now = [0.0]
    bucket = Bucket(RateLimit(calls, period), lambda: now[0])
    taken = 0
    for wait in waits:
        now[0] += wait
        told = bucket.take()
        taken += not told
        assert taken <= calls + now[0] * calls / period + 1e-6
        if told:
            now[0] += told
            assert bucket.take() == 0
            taken += 1


async def test_a_websocket_of_a_plugin_without_routes_is_refused(old):
    """As an HTTP answer, before it opens."""
    sent = []

    async def send(message):
        sent.append(message)

    async with old(BY_HANDLE) as client:
        scope = {
            "type": "websocket",
            "path": "/app/old/live",
            "headers": [],
            "query_string": b"",
            "scheme": "ws",
        }
        await client.host(scope, None, send)
    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert sent[0]["status"] == 400
