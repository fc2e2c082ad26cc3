"""Images, from the Docker engine into the nodes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from controller.image import tag as controller_image
from sandbox_image import tag as sandbox_image
from tests.cluster.commands import ClusterError, run, say, succeeds
from tests.cluster.places import FIRST, SECOND, NodePlace

SECONDS = 300


def of_the_project() -> tuple[str, ...]:
    """What this checkout's plugins and controllers run in."""
    return sandbox_image.image_tag(), controller_image.image_tag(), controller_image.release_tag()


def answers(node: NodePlace) -> bool:
    return node.socket.exists() and succeeds(*_ctr(node), "images", "ls", "-q")


def load_own(node: NodePlace, programs: Path) -> None:
    """What the node itself needs."""
    for name in ("pause", "dns"):
        run(*_ctr(node), "images", "import", programs / f"{name}.tar")


def load(*names: str) -> None:
    """Bring images of the Docker engine to every node that is up; what a node has already is not sent again."""
    for node in (FIRST, SECOND):
        if answers(node):
            _load(node, names)


def _load(node: NodePlace, names: Sequence[str]) -> None:
    """In one piece: what images share is sent once."""
    notes = node.folder / "images"
    there = {name: run("docker", "image", "inspect", "--format", "{{.Id}}", name).strip() for name in names}
    kept = {name: notes / name.replace("/", "_") for name in names}
    missing = [name for name in names if not kept[name].exists() or kept[name].read_text() != there[name]]
    if not missing:
        return
    say(f"loading {' '.join(missing)} into {node.name}")
    _pipe(("docker", "save", *missing), (*_ctr(node), "images", "import", "-"))
    notes.mkdir(exist_ok=True)
    for name in missing:
        kept[name].write_text(there[name])


def load_elsewhere(*names: str) -> None:
    """Bring images to a cluster that is not ours, if it is of a kind that has a command for it."""
    if shutil.which("kind") and (clusters := run("kind", "get", "clusters").split()):
        run("kind", "load", "docker-image", "--name", clusters[0], *names, seconds=SECONDS)
    elif shutil.which("k3s"):
        for name in names:
            _pipe(("docker", "save", name), ("k3s", "ctr", "images", "import", "-"))
    else:
        say(f"this cluster must get its images another way (neither kind nor k3s is here): {' '.join(names)}")


def _ctr(node: NodePlace) -> tuple[str, ...]:
    return ("ctr", "--address", str(node.socket), "--namespace", "k8s.io")


def _pipe(giving: tuple[str, ...], taking: tuple[str, ...]) -> None:
    with subprocess.Popen(giving, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as giver:
        try:
            done = subprocess.run(
                taking, stdin=giver.stdout, capture_output=True, text=True, check=False, timeout=SECONDS
            )
        finally:
            giver.kill()
    if done.returncode or giver.returncode > 0:
        raise ClusterError(f"{' '.join(giving)} | {' '.join(taking)}: {done.stderr.strip()[-1000:]}")
