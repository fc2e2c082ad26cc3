"""A sandbox is killed, eats memory, hangs, floods: it is back, and its neighbours and callers notice next to nothing."""

from __future__ import annotations

import os
import signal
import statistics
import time

import pytest

from tests.docker.conftest import Engine, Running
from tests.harness import Load, until

pytestmark = pytest.mark.docker

ECHO = """
    import os
    from xcore.plugin import Plugin, action

    class Echo(Plugin):
        @action
        async def echo(self, text: str = "") -> str:
            return text
"""
HOG = """
    import os, time
    from xcore.plugin import Plugin, action

    class Hog(Plugin):
        @action
        def eat(self) -> int:
            kept = []
            while True:
                kept.append(bytearray(8 << 20))

        @action
        def eat_in_child(self) -> str:
            pid = os.fork()
            if pid == 0:
                try:
                    kept = []
                    while True:
                        kept.append(bytearray(8 << 20))
                finally:
                    os._exit(3)
            time.sleep(5)
            return "the parent lives"

        @action
        async def well(self) -> str:
            return "well"
"""
LOOP = """
    import asyncio
    from xcore.plugin import Plugin, action

    class Loop(Plugin):
        @action
        def spin(self) -> None:
            while True:
                pass

        @action
        async def block(self) -> None:
            while True:
                pass

        @action
        async def well(self) -> str:
            return "well"
"""
NOISE = """
    import os, sys, threading
    from xcore.plugin import Plugin, action

    class Noise(Plugin):
        @action
        def flood(self, token: str) -> str:
            for _ in range(200):
                print("x" * 10_000)
            return token

        @action
        async def forge(self, token: str) -> str:
            forged = "HTTP/1.1 200 OK\\r\\ncontent-length: 6\\r\\n\\r\\nforged"
            print(forged, flush=True)
            os.write(1, forged.encode())
            os.write(2, forged.encode())
            return token

        @action
        async def huge(self, token: str) -> str:
            return token * (8 * 1024 * 1024 // len(token))

        @action
        async def close_stdio(self, token: str) -> str:
            for descriptor in (0, 1, 2):
                try:
                    os.close(descriptor)
                except OSError:
                    pass
            return token

        @action
        async def say(self, token: str) -> str:
            try:
                print("something", token, flush=True)
            except OSError:
                pass
            return token
"""
QUICK = {"restart": {"maxRestarts": 20}}


def test_a_killed_sandbox_is_back_within_3_seconds_and_callers_wait_or_are_told_to_retry(
    running: Running,
) -> None:
    """Whichever process of it is killed: median over five plugins, the first crash of each."""
    names = [f"echo-{n}" for n in range(5)]
    for name in names:
        running.plugin(name, ECHO, "Echo")
    controller = running.controller()
    times = []
    for number, name in enumerate(names):
        controller.wait_ready(name)
        load = Load(controller, name, "echo", {"text": name}, callers=2)
        with load.running():
            until(lambda load=load: load.outcomes["200"] > 20)
            init = running.engine.pid(name)
            victim = init if number % 2 else running.engine.children(init)[0]
            os.kill(victim, signal.SIGKILL)
            began = time.monotonic()
            until(lambda name=name: controller.status(name)["restarts"]["count"] == 1)
            until(lambda name=name: controller.call(name, "echo", {"text": "again"}).status == 200, 10)
            times.append(time.monotonic() - began)
        assert set(load.outcomes) <= {"200", "503+Retry-After"}, (load.outcomes, load.wrong[:3])
        assert set(load.bodies) == {f'"{name}"'.encode()}
        restarts = controller.status(name)["restarts"]
        assert (restarts["count"], restarts["lastReason"], restarts["lastExitCode"]) == (1, "Signal", 137)
    print("back after", [f"{t:.2f}" for t in times])
    assert statistics.median(times) <= 3.0


def test_a_plugin_that_eats_its_memory_is_told_as_out_of_memory_and_comes_back(running: Running) -> None:
    running.plugin("hog", HOG, "Hog")
    controller = running.controller()
    controller.wait_ready("hog")
    answer = controller.call("hog", "eat")
    assert answer.status == 503
    assert "retry-after" in answer.headers
    until(lambda: controller.status("hog")["restarts"]["count"] == 1)
    assert controller.status("hog")["restarts"]["lastReason"] == "OutOfMemory"
    until(lambda: controller.call("hog", "well").status == 200)


def test_a_forked_child_that_eats_the_memory_is_out_of_memory_too(running: Running) -> None:
    running.plugin("hog", HOG, "Hog")
    controller = running.controller()
    controller.wait_ready("hog")
    controller.call("hog", "eat_in_child")
    until(lambda: controller.status("hog")["restarts"]["count"] == 1)
    assert controller.status("hog")["restarts"]["lastReason"] == "OutOfMemory"
    until(lambda: controller.call("hog", "well").status == 200)


@pytest.mark.parametrize("action", ["spin", "block"])
def test_an_endless_loop_is_a_504_at_its_deadline_and_then_a_restart(running: Running, action: str) -> None:
    """Sync in a thread and async on the loop."""
    running.plugin(
        "loop",
        LOOP,
        "Loop",
        actions=[{"name": action, "timeouts": {"firstByteSeconds": 1}}],
        probes={"liveness": {"periodSeconds": 1, "failureThreshold": 2}},
    )
    controller = running.controller()
    controller.wait_ready("loop")
    answer = controller.call("loop", action)
    assert (answer.status, answer.reason) == (504, "FirstByteTimeout")
    until(lambda: controller.status("loop")["restarts"]["count"] == 1, 40)
    assert controller.status("loop")["restarts"]["lastReason"] == "ProbeFailed"
    until(lambda: controller.call("loop", "well").status == 200)


def test_whatever_a_plugin_prints_closes_or_sends_every_caller_gets_its_own_answer(running: Running) -> None:
    running.plugin("noise", NOISE, "Noise")
    controller = running.controller()
    controller.wait_ready("noise")
    for number, action in enumerate(("flood", "forge", "close_stdio", "say", "forge", "say") * 5):
        answer = controller.call("noise", action, {"token": f"token-{number}"})
        assert (answer.status, answer.json) == (200, f"token-{number}")
    big = controller.call("noise", "huge", {"token": "12345678"})
    assert big.status == 200
    assert big.json == "12345678" * (1024 * 1024)
    assert controller.status("noise")["restarts"]["count"] == 0


def test_a_plugin_that_keeps_crashing_is_backed_off_and_finally_held(
    running: Running, engine: Engine
) -> None:
    running.plugin("broken", "import nothing_of_that_name\n", "Broken", restart={"maxRestarts": 2})
    controller = running.controller()
    until(lambda: controller.condition("broken", "Ready")[1] == "RestartBudgetExhausted", 40)
    ready = controller.condition("broken", "Ready")
    assert "ModuleNotFoundError: No module named 'nothing_of_that_name'" in ready[2]
    logs = controller.request("GET", "/api/v1/plugins/broken/logs").content.decode()
    assert "Traceback" in logs
    answer = controller.call("broken", "anything")
    assert (answer.status, answer.reason) == (503, "PluginNotReady")
    assert engine.containers("broken", running=True) == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [("os._exit(0)", "Completed"), ("os._exit(3)", "Error"), ("os.kill(os.getpid(), 11)", "Signal")],
)
def test_how_it_ended_is_recorded_exactly(running: Running, code: str, reason: str) -> None:
    ends = f"""
        import os
        from xcore.plugin import Plugin, action

        class Ends(Plugin):
            @action
            async def end(self) -> None:
                {code}
    """
    running.plugin("ends", ends, "Ends")
    controller = running.controller()
    controller.wait_ready("ends")
    answer = controller.call("ends", "end")
    assert (answer.status, answer.reason) == (503, "PluginNotReady")
    until(lambda: controller.status("ends")["restarts"]["count"] == 1)
    restarts = controller.status("ends")["restarts"]
    assert (restarts["lastReason"], restarts["lastExitCode"]) == (
        reason,
        {"Completed": 0, "Error": 3, "Signal": 139}[reason],
    )
    controller.wait_ready("ends")


def test_plugins_that_stop_slowly_hold_up_nobody_else(running: Running) -> None:
    """Eight of them take their whole grace; a ninth that crashes is back as quickly as ever."""
    slow = """
        import asyncio
        from xcore.plugin import Plugin, action

        class Slow(Plugin):
            async def shutdown(self) -> None:
                await asyncio.sleep(300)
    """
    for number in range(8):
        running.plugin(f"slow-{number}", slow, "Slow", terminationGracePeriodSeconds=20)
    running.plugin("echo", ECHO, "Echo")
    controller = running.controller()
    for number in range(8):
        controller.wait_ready(f"slow-{number}")
    controller.wait_ready("echo")
    for number in range(8):
        assert controller.request("POST", f"/api/v1/plugins/slow-{number}/suspend").status == 202
    os.kill(running.engine.pid("echo"), signal.SIGKILL)
    until(lambda: controller.status("echo")["restarts"]["count"] == 1, 5)
    until(lambda: controller.call("echo", "echo", {"text": "x"}).status == 200, 5)
    assert running.engine.containers("slow-0", running=True)
    for number in range(8):
        os.kill(running.engine.pid(f"slow-{number}"), signal.SIGKILL)
    until(lambda: [running.engine.containers(f"slow-{n}") for n in range(8)] == [[]] * 8)
    # The events are still heard.
    os.kill(running.engine.pid("echo"), signal.SIGKILL)
    until(lambda: controller.status("echo")["restarts"]["count"] == 2, 5)
