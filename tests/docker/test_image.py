"""Containers of other people as plugins: they serve as they are, below their prefix, and have no way out."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from tests.docker import images
from tests.docker.conftest import Running
from tests.harness import Controller, until

pytestmark = pytest.mark.docker

VOLUMES = ('VOLUME ["/data", "/var/cache/app"]',)


@pytest.fixture(scope="session")
def web() -> Iterator[str]:
    reference = images.build("web", *images.RUN, *VOLUMES, "HEALTHCHECK CMD touch /tmp/checked", "EXPOSE 80")
    yield reference
    images.remove(reference)


def declare(running: Running, name: str, image: str, **spec: Any) -> None:
    source = {"image": image, **spec.pop("source", {})}
    folder = running.plugins / name
    folder.mkdir(parents=True, exist_ok=True)
    resource = {
        "apiVersion": "xcore.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": name},
        "spec": {"source": source, **spec},
    }
    (folder / "plugin.yaml").write_text(json.dumps(resource))


def serving(running: Running, image: str, **spec: Any) -> Controller:
    declare(running, "web", image, **spec)
    controller = running.controller()
    controller.wait_ready("web")
    return controller


def test_a_container_serves_unmodified_below_its_prefix(running: Running, web: str) -> None:
    """It is asked for its own paths, told the prefix, run by its own command in its own directory, as nobody."""
    controller = serving(running, web, config={"colour": "blue"}, env=[{"name": "MODE", "value": "fast"}])
    for asked, path in (
        ("/app/web", "/"),
        ("/app/web?a=1", "/?a=1"),
        ("/app/web/a/b%20c?d=e", "/a/b%20c?d=e"),
    ):
        answer = controller.request("GET", asked)
        assert (answer.status, answer.json["path"]) == (200, path)
    found = answer.json
    assert found["headers"]["x-forwarded-prefix"] == "/app/web"
    assert (found["cwd"], found["argv"]) == ("/srv", ["server.py", "an", "argument"])
    assert found["uid"] >= 100_000
    environment = found["environment"]
    assert (environment["PORT"], environment["MODE"], environment["HOME"]) == ("8080", "fast", "/tmp")
    assert json.loads(environment["PLUGIN_SPEC"])["config"] == {"colour": "blue"}
    assert environment["PYTHONUNBUFFERED"] == "1", "the image's own environment stays"
    assert controller.call("web", "echo", {"a": 1}).json == {"path": "/echo", "body": '{"a":1}'}
    status = controller.status("web")
    assert status["image"] == running.engine.run("image", "inspect", "-f", "{{.Id}}", web).strip()
    assert controller.condition("web", "NetworkIsolated")[:2] == ("True", "Enforced")


def test_it_is_hardened_like_any_other_sandbox(running: Running, web: str) -> None:
    """No capability, no privileges to gain, a system call filter, a read-only root, bounded room, no disk of the host."""
    controller = serving(running, web)
    status = controller.request("GET", "/app/web").json["status"]
    assert {status[name].strip("0") for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {""}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    paths = ["/data/x", "/var/cache/app/x", "/tmp/x", "/srv/x", "/etc/x", "/dev/shm/x", "/run/x"]
    written = controller.request("POST", "/app/web/write", json=paths).json
    assert [path for path, result in written.items() if result == "written"] == paths[:3]
    found = running.engine.inspect(running.engine.containers("web")[0])
    host = found["HostConfig"]
    assert found["Mounts"] == []
    assert set(host["Tmpfs"]) == {"/tmp", "/data", "/var/cache/app"}
    assert all("size=16777216" in options for options in host["Tmpfs"].values())
    assert (host["NetworkMode"], host["PortBindings"], host["PublishAllPorts"]) == ("none", {}, False)
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Init"]) == (True, ["ALL"], True)
    assert host["Memory"] == host["MemorySwap"] == 128 << 20
    assert "Health" not in found["State"]


class Sentinel:
    """Listens on every address of this machine and counts who comes."""

    def __init__(self) -> None:
        self.hits: list[str] = []
        self._listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                return
            self.hits.append(address[0])
            connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def sentinel() -> Iterator[Sentinel]:
    made = Sentinel()
    yield made
    made.close()


def addresses() -> list[str]:
    """Every address of this machine, the engine's bridge among them."""
    shown = subprocess.run(["ip", "-json", "address"], check=True, capture_output=True, text=True).stdout
    return [info["local"] for device in json.loads(shown) for info in device["addr_info"]]


def test_nothing_of_the_host_or_beyond_can_be_reached_from_inside(
    running: Running, web: str, sentinel: Sentinel
) -> None:
    """Attacks S36 to S42: the host's addresses, the bridge's gateway, the controller, metadata, neighbours, names."""
    declare(running, "neighbour", web, source={"port": 9000})
    controller = serving(running, web)
    controller.wait_ready("neighbour")
    host = addresses()
    # The engine tells its gateway only from its second start on: by default it is the first address there is.
    subnet = running.engine.run(
        "network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Subnet}}"
    ).strip()
    bridge = str(ip_network(subnet)[1])
    assert bridge in host
    with socket.create_connection((bridge, sentinel.port)):
        until(lambda: sentinel.hits, 5, "the sentinel being reachable at all")
    sentinel.hits.clear()
    targets = [[address, sentinel.port] for address in host]
    targets += [["127.0.0.1", controller.port], ["127.0.0.1", 9000], [bridge, controller.port]]
    targets += [["192.0.2.1", 80], ["198.51.100.7", 53], ["2001:db8::1", 80], ["example.com", 80]]
    reached = controller.request("POST", "/app/web/reach", json=targets).json
    assert {target: result for target, result in reached.items() if result == "reached"} == {}
    assert reached["192.0.2.1 80"] == "Network is unreachable"
    assert reached[f"{bridge} {sentinel.port}"] == "Network is unreachable"
    assert sentinel.hits == []
    found = controller.request("GET", "/app/web").json
    assert found["interfaces"] == ["lo"]
    assert (found["raw"], found["packet"]) == ("Operation not permitted", "Operation not permitted")
    assert "127.0.0.11" not in found["resolver"]


def test_metadata_addresses_lead_nowhere(running: Running, web: str) -> None:
    """No route leads to them, whoever would answer there: the real ones are never asked, for there is no device."""
    controller = serving(running, web)
    targets = [["169.254.169.254", 80], ["fd00:ec2::254", 80]]
    answers = set(controller.request("POST", "/app/web/reach", json=targets).json.values())
    assert answers <= {"Network is unreachable", "Cannot assign requested address"}


def test_an_image_that_ends_is_restarted_and_says_why(running: Running, web: str) -> None:
    controller = serving(running, web)
    os.kill(running.engine.children(running.engine.pid("web"))[0], signal.SIGKILL)
    until(lambda: controller.status("web")["restarts"]["count"] == 1, 20, "the restart")
    controller.wait_ready("web")
    assert controller.status("web")["restarts"]["lastReason"] == "Signal"
    assert controller.request("GET", "/app/web").status == 200


def test_an_image_may_listen_on_a_unix_socket_instead(running: Running, web: str) -> None:
    """It is told where; it then has no port, and the same tmpfs of 64 KiB as any plugin."""
    controller = serving(running, web, source={"socket": "/run/plugin/app.sock"})
    found = controller.request("GET", "/app/web/x").json
    assert (found["path"], found["environment"]["PLUGIN_SOCKET"]) == ("/x", "/run/plugin/app.sock")
    assert "PORT" not in found["environment"]


def test_an_image_listens_on_any_port_and_address(running: Running, web: str) -> None:
    """Low ports too: in a network of its own nothing is privileged that matters to the host."""
    controller = serving(
        running,
        web,
        source={"port": 80},
        env=[{"name": "ADDRESS", "value": "0.0.0.0"}],
    )
    assert controller.request("GET", "/app/web").status == 200


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        ({"startup": {"path": "/status/204", "failureThreshold": 5}}, ""),
        ({"startup": {"path": "/status/500", "failureThreshold": 2}}, "start-up: /status/500 answered 500"),
    ],
)
def test_an_image_is_probed_where_its_manifest_says(
    running: Running, web: str, probes: Any, message: str
) -> None:
    declare(running, "web", web, probes=probes, restart={"maxRestarts": 0})
    controller = running.controller()
    if message:
        until(lambda: message in controller.condition("web", "Ready")[2], 30, "the message")
    else:
        controller.wait_ready("web")
