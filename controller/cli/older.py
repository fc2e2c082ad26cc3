"""Folders of the old system on the command line: found, read, and told what becomes of each of their fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from controller.cli import output
from controller.cli.local import Complaint
from integrations.legacy.draft import Said
from integrations.legacy.folders import LegacyFolders
from xcore import yamlsafe
from xcore.bundle import MANIFEST
from xcore.errors import Invalid, Problem
from xcore.manifest import Manifest

# Nobody is trusted here: that is up to the operator of the controller that runs it.
FOLDERS = LegacyFolders()


def is_old(folder: Path) -> bool:
    return folder.is_dir() and FOLDERS.claims(folder, text_in(folder))


def old_folders(path: Path) -> list[Path]:
    """The folder itself, or those of the old system in it, where it is no plugin of today."""
    if is_old(path):
        return [path]
    if not path.is_dir() or (path / MANIFEST).exists():
        return []
    return sorted(folder for folder in path.iterdir() if is_old(folder))


def text_in(folder: Path) -> bytes | None:
    """Give the text of its `plugin.yaml`; None where it has none that could be an old one."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            return file.read(yamlsafe.MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError:
        return b""  # told where it is read as today's


def judge(folder: Path) -> tuple[Manifest | None, Sequence[Said], list[Complaint]]:
    """Give the manifest it becomes, what was said of its fields, and what is refused."""
    said: Sequence[Said] = ()
    try:
        draft = FOLDERS.draft(folder)
        said = draft.said
        return draft.manifest(), said, []
    except Invalid as error:
        problems = error.problems or (Problem("", error.detail),)
        return None, said, [Complaint(str(folder), 0, one.field, one.message) for one in problems]
    except OSError as error:
        return None, said, [Complaint(str(folder), 0, "", f"cannot be read: {error.strerror}")]


def show(said: Iterable[Said]) -> None:
    """One line for each old field."""
    output.table(
        ("OLD", "BECOMES", "NOTE"), [(one.field, one.becomes or "nothing", one.note) for one in said]
    )
