"""The control plane: etcd, the API server, the controllers, the scheduler, and the proxy of services."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster import processes
from tests.cluster.certificates import PKI
from tests.cluster.commands import succeeds, wait_for
from tests.cluster.places import AUDIT_LOG, DATA, FIRST, KUBECONFIG, PODS, SERVICES

ETCD = "http://127.0.0.1:12379"
ETCD_PEER = "http://127.0.0.1:12380"
# Killed in this order: politely, an API server without its etcd hangs for a minute.
CLIENTS = ("kube-proxy", "kube-scheduler", "kube-controller-manager")
ORDER = (*CLIENTS, "kube-apiserver", "etcd")
# Who did what, and when: the witness of tests about leaders and request counts.
AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def start(programs: Path) -> None:
    """All of it, and return when the API server is ready."""
    processes.start("etcd", _etcd(programs))
    processes.start("kube-apiserver", _api_server(programs))
    wait_for(lambda: ready(programs), "an API server that is ready")
    for name in ("kube-controller-manager", "kube-scheduler"):
        identity = PKI / f"{name}.kubeconfig"
        common = (programs / name, f"--kubeconfig={identity}", "--bind-address=127.0.0.1")
        own = _controllers() if name == "kube-controller-manager" else ()
        processes.start(name, (*common, "--leader-elect=false", *own))
    processes.start("kube-proxy", _proxy(programs))


def ready(programs: Path) -> bool:
    processes.must_run("etcd")
    processes.must_run("kube-apiserver")
    command = ("--kubeconfig", KUBECONFIG, "--request-timeout=5s", "get", "--raw=/readyz")
    return succeeds(programs / "kubectl", *command)


def _etcd(programs: Path) -> tuple[str | Path, ...]:
    return (
        *(programs / "server", "--name=test", f"--data-dir={DATA / 'etcd'}", "--unsafe-no-fsync"),
        *(f"--listen-client-urls={ETCD}", f"--advertise-client-urls={ETCD}"),
        *(f"--listen-peer-urls={ETCD_PEER}", f"--initial-advertise-peer-urls={ETCD_PEER}"),
        f"--initial-cluster=test={ETCD_PEER}",
    )


def _api_server(programs: Path) -> tuple[str | Path, ...]:
    policy = DATA / "audit-policy.json"
    policy.write_text(json.dumps(AUDIT))
    return (
        *(programs / "kube-apiserver", f"--etcd-servers={ETCD}", f"--bind-address={FIRST.address}"),
        *(f"--advertise-address={FIRST.address}", f"--service-cluster-ip-range={SERVICES}"),
        *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
        *("--allow-privileged", "--kubelet-preferred-address-types=InternalIP", "--profiling=false"),
        *(f"--client-ca-file={PKI / 'ca.crt'}",),
        *(f"--tls-cert-file={PKI / 'apiserver.crt'}", f"--tls-private-key-file={PKI / 'apiserver.key'}"),
        *(f"--kubelet-client-certificate={PKI / 'admin.crt'}", f"--kubelet-client-key={PKI / 'admin.key'}"),
        *("--service-account-issuer=https://kubernetes.default.svc",),
        f"--service-account-signing-key-file={PKI / 'accounts.key'}",
        f"--service-account-key-file={PKI / 'accounts.pub'}",
        *(f"--audit-policy-file={policy}", f"--audit-log-path={AUDIT_LOG}"),
    )


def _controllers() -> tuple[str, ...]:
    return (
        *("--use-service-account-credentials", f"--root-ca-file={PKI / 'ca.crt'}"),
        f"--service-account-private-key-file={PKI / 'accounts.key'}",
        f"--flex-volume-plugin-dir={DATA / 'plugins'}",
        # A lost node is noticed after 20 s instead of 50: tests wait for it. Kubelets tell of themselves every 5 s.
        "--node-monitor-grace-period=20s",
    )


def _proxy(programs: Path) -> tuple[str | Path, ...]:
    return (
        *(programs / "kube-proxy", f"--kubeconfig={PKI / 'kube-proxy.kubeconfig'}", "--proxy-mode=iptables"),
        *(f"--hostname-override={FIRST.name}", f"--cluster-cidr={PODS}", "--conntrack-max-per-core=0"),
        *("--iptables-localhost-nodeports=false", "--oom-score-adj=0"),
        *(f"--bind-address={FIRST.address}", "--healthz-bind-address=127.0.0.1:10256"),
    )
