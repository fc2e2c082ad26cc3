"""Which cluster there is to use: the one KUBECONFIG names, if it answers and is not ours; else ours."""

from __future__ import annotations

import os
import shutil

from tests.cluster import build, images
from tests.cluster.commands import ClusterError, succeeds
from tests.cluster.places import KUBECONFIG


def named() -> str | None:
    """The KUBECONFIG of somebody else's cluster that answers. One that does not answer is an error, not a no."""
    kubeconfig = os.environ.get("KUBECONFIG", "")
    if not kubeconfig or kubeconfig == str(KUBECONFIG):
        return None
    kubectl = shutil.which("kubectl") or build.programs() / "kubectl"
    if not succeeds(kubectl, "--request-timeout=5s", "get", "--raw=/readyz"):
        raise ClusterError(
            f"no cluster answers behind KUBECONFIG={kubeconfig}: start it, or unset KUBECONFIG to have one made"
        )
    return kubeconfig


def load(*names: str) -> None:
    if named():
        images.load_elsewhere(*names)
    else:
        images.load(*names)
