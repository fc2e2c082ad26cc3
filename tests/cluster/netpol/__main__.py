"""A NetworkPolicy enforcer FOR TESTS ONLY: turns the policies of the test cluster into nftables rules on this machine.

It knows one machine with all nodes on it, IPv4, and pods whose traffic is routed by that machine. It is no substitute
for the network plugin of a real cluster: no IPv6, no SCTP, and connections that stand already are not cut.
What the machine itself sends to a pod passes (kubelet's probes must). A pod whose address is not known yet reaches
nothing.

  python -m tests.cluster netpol on     starts it and returns when its rules are in force
  python -m tests.cluster netpol off    ends it and removes its rules
  python -m tests.cluster.netpol --run  runs it in the foreground
"""

from __future__ import annotations

import subprocess
import sys
import threading

from tests.cluster.netpol.api import Watch
from tests.cluster.netpol.rules import table

WATCHED = {
    "namespaces": "/api/v1/namespaces",
    "pods": "/api/v1/pods",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}


def main(words: list[str]) -> int:
    if words != ["--run"]:
        print(__doc__)
        return 0 if words in ([], ["--help"]) else 2
    changed = threading.Event()
    watches = {name: Watch(path, changed) for name, path in WATCHED.items()}
    for watch in watches.values():
        threading.Thread(target=watch.run, daemon=True).start()
    in_force = ""
    while changed.wait():
        changed.clear()
        # Until all is known once, no rules: half of the pods would lose the half that is known.
        if not all(watch.complete.is_set() for watch in watches.values()):
            continue
        wanted = table(**{name: watch.objects() for name, watch in watches.items()})
        if wanted != in_force:
            subprocess.run(("nft", "--file", "-"), input=wanted, text=True, check=True, timeout=30)
            in_force = wanted
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
