"""Which folder speaks for which name. Pure.

Whoever has a name keeps it, else the first folder in order gets it. A folder that reaches for somebody else's name
is refused, and what it held before runs on. Among resources of a cluster the oldest has it, and of those of one second the first in
order, whichever was heard of first: every replica says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xcore.declare import door
from xcore.errors import Conflict, RouteConflict, XcoreError
from xcore.loader import Declared


@dataclass(slots=True)
class Directory:
    """`owners`: what is declared, by name. `misfits`: why a folder has no plugin of its own, by folder. `rivals`: who else wants a name, in words."""

    owners: dict[str, Declared] = field(default_factory=dict)
    misfits: dict[str, XcoreError] = field(default_factory=dict)
    rivals: dict[str, list[str]] = field(default_factory=dict)


def assign(
    declared: Sequence[Declared], held: Mapping[str, str], known: Callable[[str], str | None]
) -> Directory:
    """`held`: folder → the name it has; `known(folder)`: the one it had when it was last readable."""

    def before(item: Declared) -> str | None:
        return held.get(item.folder) or known(item.folder)

    def reaches(item: Declared) -> bool:
        name = _name(item, before(item))
        return name != before(item) and not (item.since and name in of_resources)

    of_resources = {before(item) for item in declared if item.since}
    directory = Directory()
    for item in sorted(declared, key=lambda d: (reaches(d), d.since, d.folder)):
        name = _name(item, before(item))
        if name is None:
            directory.misfits[item.folder] = item.error or Conflict("it holds no manifest")
        elif name in directory.owners:
            _refuse(directory, item, name, before(item))
        else:
            directory.owners[name] = item
    return directory


def _name(item: Declared, before: str | None) -> str | None:
    """Give the name a folder asks for: where it cannot be read, the one it had; a resource has its own anyway."""
    return item.manifest.metadata.name if item.manifest is not None else item.name or before


def _place(folder: str, name: str) -> str:
    if folder == door(name):
        return "a plugin sent through the API"
    return f"the resource {folder}" if "/" in folder else f"the folder {folder}"


def _refuse(directory: Directory, item: Declared, name: str, before: str | None) -> None:
    # The owner's status tells of it: a folder that is called like what was sent has none of its own.
    directory.rivals.setdefault(name, []).append(_place(item.folder, name))
    error = RouteConflict(f"{_place(directory.owners[name].folder, name)} already has the name {name}")
    if before is None or before in directory.owners:
        directory.misfits[item.folder] = error
    else:
        directory.owners[before] = replace(item, error=error)
