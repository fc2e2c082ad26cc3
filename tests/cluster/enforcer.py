"""Switching the NetworkPolicy enforcer of the tests on and off."""

from __future__ import annotations

import sys

from tests.cluster import processes
from tests.cluster.commands import succeeds, wait_for
from tests.cluster.netpol.rules import TABLE
from tests.cluster.places import ROOT

NAME = "netpol"


def on() -> None:
    """NetworkPolicies are in force when this returns."""
    if not processes.running(NAME):
        processes.start(
            NAME, ("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.cluster.netpol", "--run")
        )
    wait_for(lambda: processes.must_run(NAME) and _in_force(), "NetworkPolicies in force")


def off() -> None:
    """They are mere objects again."""
    processes.kill(NAME)
    if _in_force():
        succeeds("nft", "delete", "table", "ip", TABLE)


def _in_force() -> bool:
    return succeeds("nft", "list", "table", "ip", TABLE)
