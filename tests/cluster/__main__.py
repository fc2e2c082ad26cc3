"""`python -m tests.cluster COMMAND`: a Kubernetes for tests on this machine; progress on stderr.

  build           make its programs, into the cache
  up              start it, with the project's images; prints what a shell evaluates to have kubectl and helm
  down [--own]    end it and leave nothing (--own: only if this checkout started it)
  load IMAGE…     bring images of the Docker engine to its nodes
  netpol on|off   the NetworkPolicy enforcer, which is for tests only
  kill|start PART end or start one of its processes (kube-apiserver, kubelet-node1, …)

Where KUBECONFIG names another cluster that answers, `up` and `load` use that one.
"""

from __future__ import annotations

import shlex
import signal
import sys

from tests.cluster import build, enforcer, images, lifecycle, processes, reach
from tests.cluster.commands import ClusterError, say
from tests.cluster.places import KUBECONFIG


def main(words: list[str]) -> int:
    # Told to end, it ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _do(*words)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def _do(command: str = "help", *words: str) -> int:
    match command, words:
        case "build", ():
            build.programs()
        case "up", ():
            _up()
        case "down", () | ("--own",):
            lifecycle.down(own=bool(words))
        case "load", (_, *_):
            reach.load(*words)
        case "netpol", ("on" | "off" as wanted,):
            (enforcer.on if wanted == "on" else enforcer.off)()
        case "kill", (name,):
            processes.kill(name)
        case "start", (name,):
            processes.start_again(name)
        case _:
            print(__doc__, file=sys.stderr)
            return 0 if command in {"help", "--help"} else 2
    return 0


def _up() -> None:
    kubeconfig = reach.named()
    if kubeconfig:
        say(f"using the cluster that KUBECONFIG names: {kubeconfig}")
    else:
        lifecycle.up()
    reach.load(*images.of_the_project())
    print(f"export KUBECONFIG={shlex.quote(kubeconfig or str(KUBECONFIG))}")
    print(f'export PATH={shlex.quote(str(build.programs() / "path"))}:"$PATH"')


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
