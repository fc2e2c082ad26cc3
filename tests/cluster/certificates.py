"""Certificates and kubeconfigs, by openssl: one authority, one certificate for each who speaks."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.places import API_SERVER, DATA, FIRST, KUBECONFIG, NodePlace

PKI = DATA / "pki"
DAYS = "30"
BARE = "[req]\ndistinguished_name = name\n[name]\n"
ADMIN = "/O=system:masters/CN=admin"


def make_all() -> None:
    """The authority, the API server, its clients, and the pair that signs service accounts."""
    PKI.mkdir(parents=True, mode=0o700)
    (PKI / "bare.cnf").write_text(BARE)
    _openssl("ca", "/CN=xcore-test", "basicConstraints=critical,CA:TRUE")
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    addresses = ("127.0.0.1", "10.96.0.1", FIRST.address)
    alternatives = [f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses]
    issue("apiserver", "/CN=kube-apiserver", f"subjectAltName={','.join(alternatives)}")
    issue("admin", ADMIN)
    KUBECONFIG.write_text(kubeconfig("admin"))
    for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
        client(name, f"/CN=system:{name}")
    run("openssl", "genrsa", "-out", PKI / "accounts.key", "2048")
    run("openssl", "rsa", "-in", PKI / "accounts.key", "-pubout", "-out", PKI / "accounts.pub")


def for_node(node: NodePlace) -> Path:
    """The kubeconfig of a node's kubelet."""
    return client(node.kubelet, f"/O=system:nodes/CN=system:node:{node.name}")


def client(name: str, subject: str) -> Path:
    issue(name, subject)
    path = PKI / f"{name}.kubeconfig"
    path.write_text(kubeconfig(name))
    return path


def issue(name: str, subject: str, *extensions: str) -> None:
    authority = ("-CA", str(PKI / "ca.crt"), "-CAkey", str(PKI / "ca.key"))
    uses = ("basicConstraints=critical,CA:FALSE", "extendedKeyUsage=clientAuth,serverAuth")
    _openssl(name, subject, *uses, *extensions, signed_by=authority)


def kubeconfig(name: str) -> str:
    """With everything inside, so that the file can be copied. JSON is YAML."""
    user = {"client-certificate-data": _encoded(f"{name}.crt"), "client-key-data": _encoded(f"{name}.key")}
    server = {"server": API_SERVER, "certificate-authority-data": _encoded("ca.crt")}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "xcore-test", "cluster": server}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "xcore-test", "context": {"cluster": "xcore-test", "user": name}}],
        "current-context": "xcore-test",
    }
    return json.dumps(document, indent=1)


def _openssl(name: str, subject: str, *extensions: str, signed_by: tuple[str, ...] = ()) -> None:
    added = [word for extension in extensions for word in ("-addext", extension)]
    run(
        *("openssl", "req", "-x509", "-config", PKI / "bare.cnf", "-days", DAYS, "-nodes"),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", subject),
        *("-keyout", PKI / f"{name}.key", "-out", PKI / f"{name}.crt", *added, *signed_by),
    )


def _encoded(name: str) -> str:
    return base64.b64encode((PKI / name).read_bytes()).decode()
