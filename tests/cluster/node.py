"""A node: a container runtime, a kubelet, and all that pods leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import certificates, images, network, processes
from tests.cluster.certificates import PKI
from tests.cluster.commands import run, succeeds, wait_for
from tests.cluster.places import DNS, KUBECONFIG, PAUSE_IMAGE, NodePlace

CGROUPS = Path("/sys/fs/cgroup")
CNI_PROGRAMS = "/usr/lib/cni"
# What must be the parent's before a v1 cpuset takes a process.
CPUSET = ("cpuset.cpus", "cpuset.mems")
# A name of its own to ask for; the same runc answers to it.
SECOND_RUNTIME = "second"


def start(node: NodePlace, programs: Path) -> None:
    """Return when the node is Ready."""
    node.folder.mkdir(parents=True, exist_ok=True)
    network.add_address(node.address)
    _make_cgroups(node)
    _configure(node)
    processes.start(node.containerd, ("containerd", "--config", node.folder / "containerd.toml"))
    wait_for(lambda: images.answers(node), f"a containerd that answers on {node.name}")
    images.load_own(node, programs)
    identity = certificates.for_node(node)
    processes.start(
        node.kubelet,
        (
            *(programs / "kubelet", f"--config={node.folder / 'kubelet.json'}", f"--kubeconfig={identity}"),
            *(f"--hostname-override={node.name}", f"--node-ip={node.address}"),
            *(f"--root-dir={node.folder / 'kubelet'}", f"--cert-dir={node.folder / 'certificates'}"),
        ),
    )
    wait_for(lambda: ready(node, programs), f"{node.name} is Ready")


def ready(node: NodePlace, programs: Path) -> bool:
    processes.must_run(node.containerd)
    processes.must_run(node.kubelet)
    wanted = ("wait", "--for=condition=Ready", f"node/{node.name}", "--timeout=2s")
    return succeeds(programs / "kubectl", "--kubeconfig", KUBECONFIG, *wanted)


def processes_of(container: str) -> list[int]:
    """The processes of a container, by its id without a scheme, as this machine knows them; the oldest first."""
    top = CGROUPS if len(_hierarchies()) == 1 else CGROUPS / "pids"
    groups = top.glob(f"xcore-node*/kubepods/**/{container}")
    return sorted(int(pid) for group in groups for pid in (group / "cgroup.procs").read_text().split())


def remove(node: NodePlace) -> None:
    """End everything on the node and remove what it left on the machine; its object in the cluster is another matter."""
    processes.kill(node.kubelet)
    processes.kill(node.containerd)
    for pid in _shims(node):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: _end_cgroups(node), f"the end of the pods of {node.name}", seconds=30, every=0.1)
    _unmount(node.folder)
    network.remove_address(node.address)
    for path in _elsewhere(node):
        path.unlink(missing_ok=True)
    shutil.rmtree(node.folder, ignore_errors=True)
    for name in (node.kubelet, node.containerd):
        (processes.RECORDS / f"{name}.json").unlink(missing_ok=True)


def remove_common() -> None:
    """What kubelets leave in a place of their own, when no node is left."""
    common = Path("/var/lib/kubelet/device-plugins")
    for name in ("kubelet.sock", "kubelet_internal_checkpoint"):
        (common / name).unlink(missing_ok=True)
    for folder in (common, common.parent, Path("/var/lib/cni/results"), Path("/var/lib/cni")):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _configure(node: NodePlace) -> None:
    (node.folder / "cni").mkdir(exist_ok=True)
    (node.folder / "cni/10-pods.conflist").write_text(json.dumps(_cni(node)))
    (node.folder / "containerd.toml").write_text(_containerd(node))
    (node.folder / "kubelet.json").write_text(json.dumps(_kubelet(node)))
    resolv = f"nameserver {DNS}\n"
    (node.folder / "resolv.conf").write_text(resolv)


def _cni(node: NodePlace) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": node.subnet}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(node.folder / "addresses"),
    }
    # Point to point: whatever a pod sends is routed by the machine, and so can be filtered there.
    plugins = [
        {"type": "ptp", "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "1.0.0", "name": f"xcore-{node.name}", "plugins": plugins}


def _containerd(node: NodePlace) -> str:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    runtimes = "".join(
        f"[{cri}.containerd.runtimes.{name}]\n"
        'runtime_type = "io.containerd.runc.v2"\n'
        f'[{cri}.containerd.runtimes.{name}.options]\nRoot = "{node.folder}/runc"\n'
        for name in ("runc", SECOND_RUNTIME)
    )
    return f"""version = 2
root = "{node.folder}/containerd"
state = "{node.folder}/state"
[grpc]
address = "{node.socket}"
[{cri}]
sandbox_image = "{PAUSE_IMAGE}"
# The machine may not lower it, and every pod fails when runc tries.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[{cri}.cni]
bin_dir = "{CNI_PROGRAMS}"
conf_dir = "{node.folder}/cni"
{runtimes}"""


def _kubelet(node: NodePlace) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "healthzBindAddress": node.address,
        "authentication": {"x509": {"clientCAFile": str(PKI / "ca.crt")}, "anonymous": {"enabled": False}},
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "clusterDNS": [DNS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(node.folder / "resolv.conf"),
        "failSwapOn": False,
        "podPidsLimit": 1024,
        "oomScoreAdj": 0,
        "nodeLeaseDurationSeconds": 20,
        "nodeStatusUpdateFrequency": "5s",
        # The disk is the machine's: nothing is evicted, no image removed for what others put on it.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "registerWithTaints": [],
        "podLogsDir": str(node.folder / "logs"),
        "volumePluginDir": str(node.folder / "plugins"),
    }


# -- what a node leaves on the machine -----------------------------------------------------------------------------


def _hierarchies() -> list[Path]:
    """One on cgroup v2, one for each controller on v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _make_cgroups(node: NodePlace) -> None:
    for hierarchy in _hierarchies():
        if (switch := hierarchy / "cgroup.subtree_control").exists() and hierarchy == CGROUPS:
            switch.write_text("+cpu +cpuset +memory +pids")
        made = hierarchy / node.cgroup
        made.mkdir(exist_ok=True)
        for name in CPUSET:
            if (hierarchy / name).exists() and not (made / name).read_text().strip():
                (made / name).write_text((hierarchy / name).read_text())


def _end_cgroups(node: NodePlace) -> bool:
    """Kill what is in the node's cgroups and remove them; True when none is left."""
    groups = [path for top in _hierarchies() for path in _groups(top / node.cgroup)]
    for group in groups:
        with contextlib.suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
    for group in groups:
        with contextlib.suppress(OSError):
            group.rmdir()
    return not any(group.exists() for group in groups)


def _groups(top: Path) -> Iterator[Path]:
    """The innermost first."""
    for folder, _, _ in os.walk(top, topdown=False):
        yield Path(folder)


def _shims(node: NodePlace) -> Iterator[int]:
    """The processes that hold containers for this node's containerd, which they name on their command line."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"containerd-shim" in words[0] and str(node.socket).encode() in words:
                yield int(process.name)


def _elsewhere(node: NodePlace) -> Iterator[Path]:
    """Files outside its folder: links to logs, sockets of shims, what CNI remembers of sandboxes."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{node.folder}/"):
            yield link
    for address in node.folder.glob("state/io.containerd.runtime.v2.task/k8s.io/*/address"):
        yield Path(address.read_text().removeprefix("unix://"))
    for sandbox in node.folder.glob("containerd/io.containerd.grpc.v1.cri/sandboxes/*"):
        yield from Path("/var/lib/cni/results").glob(f"*-{sandbox.name}-*")


def _unmount(folder: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):
        if mount.startswith(f"{folder}/"):
            run("umount", "--lazy", mount)
