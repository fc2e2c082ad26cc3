"""Names, addresses and folders. One test cluster per machine: interfaces, addresses and cgroups are the machine's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
DATA = Path("/var/lib/xcore-cluster")
KUBECONFIG = DATA / "kubeconfig"
AUDIT_LOG = DATA / "log/audit.log"
BRIDGE = "xcore-kube0"
PODS = "10.244.0.0/16"
SERVICES = "10.96.0.0/16"
DNS = "10.96.0.10"
PAUSE_IMAGE = "docker.io/xcore-test/pause:1"
DNS_IMAGE = "docker.io/xcore-test/dns:1"


@dataclass(frozen=True)
class NodePlace:
    """Where one node of the cluster lives: its own address, pod network, folder, container runtime and cgroup."""

    number: int

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def address(self) -> str:
        return f"10.245.0.{9 + self.number}"

    @property
    def subnet(self) -> str:
        return f"10.244.{self.number}.0/24"

    @property
    def folder(self) -> Path:
        return DATA / self.name

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def cgroup(self) -> str:
        return f"xcore-{self.name}"

    @property
    def containerd(self) -> str:
        """The name of its container runtime among the processes."""
        return f"containerd-{self.name}"

    @property
    def kubelet(self) -> str:
        return f"kubelet-{self.name}"


FIRST, SECOND = NodePlace(1), NodePlace(2)
API_SERVER = f"https://{FIRST.address}:6443"
