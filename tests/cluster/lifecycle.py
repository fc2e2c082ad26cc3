"""The whole cluster: up, down, and whose it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.cluster import build, certificates, control, enforcer, network, node, processes
from tests.cluster.commands import ClusterError, run, say, succeeds, wait_for
from tests.cluster.places import DATA, FIRST, HERE, KUBECONFIG, ROOT, SECOND

LOCK = Path("/run/xcore-cluster.lock")
# Which checkout started it, and with which programs.
OWNER = DATA / "owner"
PROGRAMS = DATA / "programs"
PARTS = (*control.ORDER, FIRST.containerd, FIRST.kubelet)


def up() -> bool:
    """A cluster that works when this returns; True when this call started it."""
    _allowed()
    programs = build.programs()
    with build.locked(LOCK):
        if is_up():
            return False
        if DATA.exists():
            say("removing what is left of an earlier cluster")
            _remove()
        try:
            _start(programs)
        except BaseException:
            # The logs stay until the next start, for whoever wants to know.
            _end_everything()
            raise
    return True


def down(*, own: bool = False) -> None:
    """End the cluster and leave nothing; `own`: only if this checkout started it."""
    if not DATA.exists():
        return
    _allowed()
    with build.locked(LOCK):
        if DATA.exists() and (not own or (OWNER.exists() and OWNER.read_text() == str(ROOT))):
            _remove()
            say("the cluster is gone")


def is_up() -> bool:
    """Whether every part runs and the API server is ready."""
    if not PROGRAMS.exists() or not all(map(processes.running, PARTS)):
        return False
    return control.ready(programs())


def programs() -> Path:
    """The programs the running cluster was started with."""
    return Path(PROGRAMS.read_text())


def start_api_server_again() -> None:
    """Start what was killed, and return when it is ready and its clients ask it anew.

    These pause for up to 30 s after failures, each in its own time, and longer after every next one: whatever needs
    several of them in a row (a Deployment's pod, behind a Service) would be minutes late. They end first: the one that
    watches nodes would have missed all of them meanwhile, and call their pods not ready.
    """
    for name in control.CLIENTS:
        processes.kill(name)
    processes.start_again("kube-apiserver")
    wait_for(lambda: control.ready(programs()), "an API server that is ready")
    for name in control.CLIENTS:
        processes.start_again(name)


def add_second_node() -> None:
    node.start(SECOND, programs())


def remove_second_node() -> None:
    """Also from the cluster, with the pods that were on it."""
    kubectl = (programs() / "kubectl", "--kubeconfig", KUBECONFIG)
    node.remove(SECOND)
    succeeds(*kubectl, "delete", "node", SECOND.name, "--ignore-not-found", "--wait=false")
    stuck = ("delete", "pods", "--all-namespaces", f"--field-selector=spec.nodeName={SECOND.name}")
    succeeds(*kubectl, *stuck, "--force", "--grace-period=0", "--wait=false")


def _allowed() -> None:
    if os.geteuid():
        raise ClusterError(
            "a cluster of its own needs root: run this as root, or name a cluster in KUBECONFIG"
        )


def _start(programs_: Path) -> None:
    say("starting")
    DATA.mkdir(mode=0o711)
    OWNER.write_text(str(ROOT))
    PROGRAMS.write_text(str(programs_))
    certificates.make_all()
    network.open_up()
    network.add_address(FIRST.address)
    control.start(programs_)
    say("the API server is ready")
    node.start(FIRST, programs_)
    say(f"{FIRST.name} is ready")
    kubectl = (programs_ / "kubectl", "--kubeconfig", KUBECONFIG)
    run(*kubectl, "apply", "-f", HERE / "dns/dns.yaml")
    run(*kubectl, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
    say("names are answered: the cluster is up")


def _remove() -> None:
    _end_everything()
    shutil.rmtree(DATA)


def _end_everything() -> None:
    enforcer.off()
    # Kubelets before the API server: nothing is to be repaired from here on.
    for place in (FIRST, SECOND):
        processes.kill(place.kubelet)
    for name in control.ORDER:
        processes.kill(name)
    for place in (SECOND, FIRST):
        node.remove(place)
    node.remove_common()
    network.close_down()
