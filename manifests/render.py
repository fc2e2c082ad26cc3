"""Writes what is made from something else: `python -m manifests.render [HELM]`.

The chart's templates of the CustomResourceDefinitions come from the models, install.yaml from the chart, rendered by the
`helm` that is named or found. tests/chart/ hold what is committed against what this gives.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from xcore import crd

ROOT = Path(__file__).resolve().parent.parent
INSTALL = "manifests/install.yaml"
NAMESPACE = "xcore-system"
# A helm that was built without its Makefile takes the cluster for a very old one.
KUBE_VERSION = "1.34.0"
_TEMPLATE = """\
{{- /* Made by manifests/render.py from the models: change those. */ -}}
{{- if .Values.crds.install }}
apiVersion: %(apiVersion)s
kind: %(kind)s
metadata:
  name: %(name)s
  labels:
    {{- include "xcore.labels" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations: {helm.sh/resource-policy: keep}
  {{- end }}
%(spec)s{{- end }}
"""
_HEAD = f"""\
# xcore: definitions, controller, and a namespace for plugins. Made by manifests/render.py from the chart in helm/.
#
#   kubectl apply -f install.yaml
#
# The administrator's key is read from a Secret of yours, made beforehand:
#
#   kubectl create namespace {NAMESPACE}
#   kubectl -n {NAMESPACE} create secret generic xcore-admin-key --from-literal=admin-key="xck_$(openssl rand -hex 24)"
#
# Without it each start of the controller makes a key of its own and shows it in its log.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    app.kubernetes.io/name: xcore
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/enforce-version: latest
"""


def crd_templates() -> Iterator[tuple[str, str]]:
    """The files in helm/templates/crds, as path and text."""
    for definition in crd.definitions():
        spec = yaml.dump({"spec": definition["spec"]}, Dumper=_Plain, sort_keys=False, width=130)
        parts: dict[str, Any] = {**definition, "name": definition["metadata"]["name"], "spec": spec}
        yield f"helm/templates/crds/{definition['spec']['names']['plural']}.yaml", _TEMPLATE % parts


def install(helm: str) -> str:
    """What install.yaml holds: the chart without what only Helm reads."""
    command = (helm, "template", "xcore", "helm", "--namespace", NAMESPACE, "--kube-version", KUBE_VERSION)
    values = ("--skip-tests", "--values", "manifests/values.yaml")
    text = subprocess.run([*command, *values], cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603  no shell
    text = re.sub(r"^# Source: .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(
        r"^ +(app\.kubernetes\.io/managed-by: Helm|helm\.sh/chart: .*)\n", "", text, flags=re.MULTILINE
    )
    return _HEAD + text


class _Plain(yaml.SafeDumper):
    """Never anchors and aliases: they read badly, and stand in no template."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  PyYAML's signature
        return True


if __name__ == "__main__":
    for path, text in crd_templates():
        (ROOT / path).write_text(text, "utf-8")
    (ROOT / INSTALL).write_text(install(sys.argv[1] if len(sys.argv) > 1 else "helm"), "utf-8")
