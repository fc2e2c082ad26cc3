"""Trusted plugins: private names, contained mistakes, logs of their own, and a loop that is watched."""

import asyncio
import logging
import sys
import threading
import time

import pytest

from tests.support import HELLO, answers, lines_of, until, workload, write_plugin
from xcore.errors import UpstreamUnreachable
from xcore.runtimes.inprocess import InProcessEngine
from xcore.runtimes.lag import LoopLag
from xcore.runtimes.private import PrivatePackage
from xcore.workload import ExitReason


@pytest.fixture
async def engine():
    engine = InProcessEngine()
    await engine.open()
    yield engine
    await engine.aclose()
    assert private_modules() == []


@pytest.fixture
async def started(engine, tmp_path):
    async def start(name, code, **more):
        instance = await engine.start(workload(write_plugin(tmp_path / name, code, **more)))
        await answers(instance.endpoint)
        return instance

    return start


def private_modules():
    return [name for name in sys.modules if name.startswith("xcore_trusted_")]


async def ended(engine):
    async def over():
        (instance,) = await engine.list()
        return instance.exit

    return await until(over, what="the end")


async def ask(instance, action, arguments=b"{}"):
    """POST an action through the ASGI callable; returns (status, body)."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": arguments, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "headers": [],
        "query_string": b"",
        "path": f"/app/{instance.plugin}/{action}",
    }
    await instance.endpoint.app(scope, receive, send)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:])


async def test_a_trusted_plugin_answers_probes_and_actions(engine, started):
    instance = await started("hello", HELLO)
    assert await instance.endpoint.get("/ready", seconds=1, limit=10) == (200, b"ok\n")
    assert await ask(instance, "greet", b'{"name": "Ada"}') == (200, b'"Hello Ada"')
    await engine.stop(instance, grace=1)
    assert (await ended(engine)).reason is ExitReason.Completed
    with pytest.raises(UpstreamUnreachable):
        await ask(instance, "greet")
    assert private_modules() == []


IMPORTING = """
import dataclasses, pickle
import helper
import package.inner as inner
from helper import WHO
from package import inner as again
from xcore.plugin import Plugin, action

@dataclasses.dataclass
class Point:
    x: "int"

class Hello(Plugin):
    @action
    async def who(self) -> list[str]:
        import late
        assert inner is again
        assert pickle.loads(pickle.dumps(Point(1))) == Point(1)
        return [helper.WHO, WHO, inner.WHO, late.WHO]
"""


def importing(who):
    return {
        "helper.py": f"WHO = 'helper of {who}'\n",
        "late.py": f"WHO = 'late of {who}'\n",
        "package/__init__.py": "",
        "package/inner.py": "from . import sibling\nfrom helper import WHO\nWHO = 'inner, ' + WHO + sibling.S\n",
        "package/sibling.py": "S = '!'\n",
    }


async def test_two_plugins_with_the_same_module_names_never_meet(started):
    one = await started("one", IMPORTING, files=importing("one"))
    two = await started("two", IMPORTING, files=importing("two"))
    for name, instance in (("one", one), ("two", two)):
        status, body = await ask(instance, "who")
        expected = f'["helper of {name}","helper of {name}","inner, helper of {name}!","late of {name}"]'
        assert (status, body.decode()) == (200, expected)
    assert not {"main", "helper", "late", "package"} & set(sys.modules)


async def test_two_revisions_of_one_plugin_run_side_by_side(engine, started):
    old = await started("one", IMPORTING, files=importing("old"))
    new = await started("one", IMPORTING, files=importing("new"))
    assert b"late of new" in (await ask(new, "who"))[1]
    await engine.stop(new, grace=1)
    # Its folder has changed under it in this test, so only what is loaded already is the old.
    assert b"helper of old" in (await ask(old, "who"))[1]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise StopIteration", "StopIteration"),
        ("x = (", "SyntaxError: '(' was never closed"),
        (
            "Hello = 1",
            "TypeError: main:Hello is an object of int: neither a class derived from xcore.plugin.Plugin",
        ),
        ("from . import helper", "ImportError: attempted relative import with no known parent package"),
        ("import package.up", "ImportError: attempted relative import beyond top-level package"),
        (
            "from xcore.plugin import Plugin\nclass Hello(Plugin):\n    async def startup(self):\n        exit(1)",
            "SystemExit: 1",
        ),
        (
            "from xcore.plugin import Plugin\nclass Hello(Plugin):\n    async def startup(self):\n        1 / 0",
            "ZeroDivisionError: division by zero",
        ),
    ],
)
async def test_what_fails_to_come_up_ends_with_70_and_its_traceback_is_in_the_logs(
    engine, tmp_path, code, message
):
    files = {"helper.py": "", "package/__init__.py": "", "package/up.py": "from .. import helper"}
    instance = await engine.start(workload(write_plugin(tmp_path / "hello", code, files=files)))
    exited = await ended(engine)
    assert (exited.reason, exited.code) == (ExitReason.Error, 70)
    assert message in (await lines_of(engine, instance))[-1]
    assert private_modules() == []
    await engine.remove(instance)
    assert await engine.list() == []


async def test_an_import_that_hangs_blocks_neither_the_loop_nor_the_stop(engine, tmp_path):
    code = "import threading\nthreading.Event().wait(1.0)\n" + HELLO
    instance = await engine.start(workload(write_plugin(tmp_path / "hello", code)))
    assert await instance.endpoint.get("/startup", seconds=1, limit=10) == (503, b"starting\n")
    await engine.stop(instance, grace=0.1)
    assert (await ended(engine)).reason is ExitReason.Completed
    importer = next(thread for thread in threading.enumerate() if thread.name == "import-hello")
    assert importer.daemon
    await until(lambda: not importer.is_alive(), what="the import's end")
    assert private_modules() == []


async def test_a_startup_that_hangs_is_given_up(engine, tmp_path):
    code = """
    import asyncio
    from xcore.plugin import Plugin
    class Hello(Plugin):
        async def startup(self):
            await asyncio.sleep(600)
    """
    instance = await engine.start(workload(write_plugin(tmp_path / "hello", code)))
    await until(lambda: status_of(instance), what="the host")
    await asyncio.wait_for(engine.stop(instance, grace=1), 5)
    assert (await ended(engine)).code == 0


async def status_of(instance):
    return (await instance.endpoint.get("/live", seconds=1, limit=10))[0] == 200


TALKING = """
import logging, threading
from xcore.plugin import Plugin, action

class Hello(Plugin):
    @action
    def talk(self) -> None:
        self.context.logger.info("in a thread")
        logging.getLogger(__name__).info("by name")
        own = threading.Thread(target=self.context.logger.warning, args=("alone",))
        own.start()
        own.join()

    @action
    async def fail(self) -> None:
        raise ValueError("no\\x1b[31m")

    @action
    async def leave(self) -> None:
        raise SystemExit(1)

    async def shutdown(self):
        self.context.logger.info("good-bye")
"""


async def test_what_a_plugin_logs_is_in_its_own_logs_and_in_nobody_elses(engine, started):
    one, two = await started("one", TALKING), await started("two", TALKING)
    assert (await ask(one, "talk"))[0] == 200
    assert (await ask(two, "fail"))[0] == 500
    await engine.stop(one, grace=1)
    said = await lines_of(engine, one)
    assert [line.rpartition(": ")[2] for line in said] == ["in a thread", "by name", "alone", "good-bye"]
    assert (await lines_of(engine, two))[-1] == r"ValueError: no\x1b[31m"
    assert logging.getLogger("plugin.one").handlers == []


async def test_an_action_that_exits_ends_its_request_alone(engine, started):
    instance = await started("hello", TALKING)
    status, body = await ask(instance, "leave")
    assert (status, b'"ActionFailed"' in body) == (500, True)
    assert (await ask(instance, "talk"))[0] == 200
    assert "SystemExit: 1" in await lines_of(engine, instance)


async def test_a_shutdown_gets_its_grace_and_no_more(engine, started):
    code = HELLO + "    async def shutdown(self):\n        import asyncio\n        await asyncio.sleep(600)\n"
    instance = await started("hello", code)
    await asyncio.wait_for(engine.stop(instance, grace=0.1), 5)
    assert (await ended(engine)).reason is ExitReason.Completed


async def test_ends_are_hinted(engine, tmp_path):
    watched = asyncio.create_task(anext(aiter(engine.watch())))
    await engine.start(workload(write_plugin(tmp_path / "hello", "1 / 0")))
    assert await asyncio.wait_for(watched, 5) == "hello"


async def test_what_only_a_sandbox_has_is_refused(engine, tmp_path):
    spec = {"runtimeClass": "gvisor", "dependencies": ["a"], "env": [{"name": "A", "value": "1"}]}
    plugin = workload(write_plugin(tmp_path / "hello", **spec))
    refused = [problem.field for problem in engine.check(plugin.manifest)]
    assert refused == ["spec.runtimeClass", "spec.dependencies", "spec.env"]
    assert engine.isolates(plugin)[:2] == ("False", "Unsupported")


def test_a_snapshot_is_not_written_into_and_a_folder_of_assets_shadows_nothing(tmp_path):
    write_plugin(
        tmp_path / "p", "import json\nimport colorsys\n", files={"json/a.txt": "", "colorsys.py": "MINE = 1"}
    )
    package = PrivatePackage("xcore_trusted_test", tmp_path / "p")
    try:
        module = package.load("main")
        assert module.json is sys.modules["json"]
        assert module.colorsys.MINE == 1
        assert module.colorsys.__name__ == "xcore_trusted_test.colorsys"
        assert list((tmp_path / "p").rglob("*.pyc")) == []
    finally:
        package.close()
    assert private_modules() == []
    assert package not in sys.meta_path


async def test_a_blocked_loop_is_told_once_with_its_stack(caplog):
    lag = LoopLag(interval=0.02, threshold=0.1)
    lag.start()
    await asyncio.sleep(0.1)
    block_the_loop()
    await asyncio.sleep(0.1)
    lag.stop()
    told = [record.getMessage() for record in caplog.records if record.name == "xcore.loop"]
    assert len(told) == 1
    assert "block_the_loop" in told[0]
    assert lag.lag_seconds < 0.1


def block_the_loop():
    time.sleep(0.5)  # blocking is what is tested


TASKS = """
import asyncio
from xcore.plugin import Plugin, action

async def leave():
    await asyncio.sleep(0)
    raise SystemExit(3)

class Hello(Plugin):
    @action
    async def awaited(self) -> None:
        await asyncio.create_task(leave())

    @action
    async def grouped(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(leave())

    @action
    async def cancelled(self) -> bool:
        task = asyncio.create_task(leave())
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled()
"""


@pytest.mark.parametrize("name", ["awaited", "grouped"])
async def test_a_guests_task_that_exits_ends_the_request_and_nothing_else(started, name):
    """The loop, which would let a SystemExit through and end the controller, never sees it."""
    instance = await started("hello", TASKS)
    status, body = await ask(instance, name)
    assert (status, b"ActionFailed" in body) == (500, True)


async def test_a_guests_task_is_a_task_like_any_other(started):
    """Cancelled before it began it is cancelled, and nothing warns."""
    instance = await started("hello", TASKS)
    assert await ask(instance, "cancelled") == (200, b"true")


async def test_the_task_factory_is_there_as_long_as_the_engine_is():
    """And only that long."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    engine = InProcessEngine()
    await engine.open()
    assert loop.get_task_factory() is not before
    await engine.aclose()
    assert loop.get_task_factory() is before
