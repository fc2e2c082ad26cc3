"""`plugin.lock`: the exact packages that `spec.dependencies` stand for, with the hashes of their files. Pure.

A requirements text that pip could read, below a header of ours. The file comes from a plugin's author, so it is read
strictly: names, exact versions, markers and hashes, nothing else; what uv is given is written anew from what was read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xcore.errors import InvalidBundle, Problem
from xcore.manifest import Manifest

LOCK = "plugin.lock"
MAX_BYTES = 2 * 2**20
MAX_PACKAGES = 256
_FORMAT = "# xcore lock 1 sha256:"
_NOTICE = (
    "# What spec.dependencies stand for. Written by `xcore pack`, which also renews it; not to be edited."
)
_WANTED, _SANDBOX = "# wanted: ", "# in the sandbox: "
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PIN = re.compile(
    rf"(?P<name>{_NAME.pattern})==(?P<version>[A-Za-z0-9.+!_-]+)(?P<marker> ; [A-Za-z0-9_.'\"<>=!~() -]+)?"
)
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Pin:
    """One package: `requirement` as `name==version ; marker`, and the hashes (`sha256:…`) its files may have."""

    name: str
    version: str
    requirement: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return " \\\n".join([self.requirement, *(f"    --hash={digest}" for digest in self.hashes)])


@dataclass(frozen=True, slots=True)
class Lock:
    """`wanted`: the dependencies it was made for; `provided`: what of the sandbox's own packages they rely on."""

    wanted: tuple[str, ...]
    provided: Mapping[str, str]
    pins: tuple[Pin, ...]

    def __str__(self) -> str:
        body = "".join(f"{line}\n" for line in self._body())
        return f"{_FORMAT}{_digest(body)}\n{body}"

    def _body(self) -> Iterator[str]:
        yield _NOTICE
        yield from (f"{_WANTED}{requirement}" for requirement in self.wanted)
        yield from (f"{_SANDBOX}{name}=={version}" for name, version in self.provided.items())
        yield from map(str, self.pins)

    @property
    def requirements(self) -> str:
        """The text uv is given: equal for locks of the same packages, whatever they were made for."""
        return "".join(f"{pin}\n" for pin in sorted(self.pins, key=str))


def canonical(name: str) -> str:
    """The name as packages are compared by (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def make(manifest: Manifest, resolved: str, provided: Mapping[str, str]) -> Lock:
    """A lock of what uv resolved; the packages a sandbox has anyway are named apart, and not packed."""
    pins = list(read_pins(resolved.splitlines()))
    packed = tuple(pin for pin in pins if canonical(pin.name) not in provided)
    if len(packed) > MAX_PACKAGES:
        raise InvalidBundle(
            f"the dependencies stand for {len(packed)} packages; at most {MAX_PACKAGES} are packed"
        )
    names = sorted({canonical(pin.name) for pin in pins} & set(provided))
    wanted = tuple(sorted(manifest.spec.dependencies))
    return Lock(wanted, {name: provided[name] for name in names}, packed)


def read(text: bytes) -> Lock:
    """The lock in a file; raises InvalidBundle when it is not one, or not as it was written."""
    try:
        first, body = text.decode("ascii").split("\n", 1)
    except ValueError:
        raise _bad("is not a lock") from None
    if len(text) > MAX_BYTES:
        raise _bad(f"is larger than {MAX_BYTES // 2**20} MiB")
    if not first.startswith(_FORMAT):
        raise _bad("is not a lock of this version")
    if first.removeprefix(_FORMAT) != _digest(body):
        raise _bad("was edited")
    lines = body.splitlines()
    wanted = tuple(line.removeprefix(_WANTED) for line in lines if line.startswith(_WANTED))
    provided = dict(
        line.removeprefix(_SANDBOX).split("==", 1)
        for line in lines
        if line.startswith(_SANDBOX) and "==" in line
    )
    pins = tuple(read_pins(line for line in lines if not line.startswith("#")))
    if len(pins) > MAX_PACKAGES:
        raise _bad(f"names more than {MAX_PACKAGES} packages")
    return Lock(wanted, provided, pins)


def require(lock: Lock, manifest: Manifest, provided: Mapping[str, str]) -> None:
    """Raise InvalidBundle, saying what differs, unless the lock is of these dependencies and this sandbox."""
    wanted = set(manifest.spec.dependencies)
    for requirement in sorted(wanted.symmetric_difference(lock.wanted)):
        raise _bad(
            f"was made before {requirement} was added to spec.dependencies"
            if requirement in wanted
            else f"was made for {requirement}, which spec.dependencies no longer name"
        )
    for name, version in lock.provided.items():
        if provided.get(name) != version:
            raise _bad(f"was made for {name} {version}; the sandbox has {provided.get(name, 'none')}")


def read_pins(lines: Iterable[str]) -> Iterator[Pin]:
    """The packages of a requirements text; raises InvalidBundle for whatever else stands in it."""
    gathered = ""
    for line in lines:
        gathered += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        if gathered.strip():
            yield _pin(gathered.split("    "))
        gathered = ""
    if gathered.strip():
        raise _bad("ends in the middle of a line")


def _pin(parts: Sequence[str]) -> Pin:
    requirement, *hashes = (part.strip() for part in parts)
    found = _PIN.fullmatch(requirement)
    if found is None or not hashes or not all(map(_HASH.fullmatch, hashes)):
        raise _bad(f"holds a line that names no exact version with its hashes: {requirement[:80]}")
    digests = tuple(sorted(digest.removeprefix("--hash=") for digest in hashes))
    return Pin(found["name"], found["version"], requirement, digests)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _bad(what: str) -> InvalidBundle:
    return InvalidBundle(f"{LOCK} {what}: run `xcore pack DIR`", [Problem(LOCK, what)])
