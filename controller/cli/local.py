"""What needs nobody's answer: `schema`, and reading a plugin folder. Nothing of a plugin is imported or run."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from controller.cli import output
from xcore import yamlsafe
from xcore.bundle import MANIFEST, survey
from xcore.errors import InvalidBundle, InvalidManifest, Problem
from xcore.loader import BUNDLE_IN_FOLDER
from xcore.manifest import Manifest, json_schema, not_yet, parse

app = typer.Typer(rich_markup_mode=None)
_LINE = re.compile(r"line (\d+): ")


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing to mend: `line` from 1, 0 where a line means nothing; `field` empty where there is none."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (where, self.field, self.message) if part)


@app.command()
def schema(
    form: Annotated[
        Literal["json", "yaml"], typer.Option("-o", "--output", help="How to print it.")
    ] = "json",
) -> None:
    """Print the JSON Schema of the Plugin resource."""
    output.data(json_schema(), form)


def complaints(manifest: Path) -> Iterator[Complaint]:
    """Everything that is wrong with a manifest and the folder it speaks for."""
    name = str(manifest)
    if manifest.is_symlink():
        yield Complaint(name, 0, "", "is a link; only files and folders are allowed")
        return
    try:
        with manifest.open("rb") as file:
            text = file.read(yamlsafe.MAX_BYTES + 1)
        parsed = parse(text, name=manifest.name)
    except OSError as error:
        yield Complaint(name, 0, "", f"cannot be read: {error.strerror}")
    except InvalidManifest as error:
        for problem in error.problems or (Problem("", error.detail),):
            yield _from_text(name, problem)
    else:
        lines = {yamlsafe.dotted(path): line for path, line in yamlsafe.load(text, name=name)[1].items()}
        for problem in (*_not_in_a_folder(manifest, parsed), *not_yet(parsed)):
            yield Complaint(name, _line_of(problem.field, lines), problem.field, problem.message)
        if parsed.spec.source.folder is not None:
            line = _line_of("spec.entrypoint", lines)
            yield from _folder(manifest, parsed, line)


def manifests_in(path: Path) -> list[Path]:
    """The manifest itself, that of the folder, or those of the folders in it."""
    if path.is_file():
        return [path]
    return [path / MANIFEST] if (path / MANIFEST).exists() else sorted(path.glob(f"*/{MANIFEST}"))


def _not_in_a_folder(manifest: Path, parsed: Manifest) -> Iterator[Problem]:
    """A manifest of another name is one to be sent, which may name code that is there."""
    if manifest.name == MANIFEST and parsed.spec.source.bundle is not None:
        yield BUNDLE_IN_FOLDER


def _from_text(name: str, problem: Problem) -> Complaint:
    line = _LINE.match(problem.message)
    if line is None:
        return Complaint(name, 0, problem.field, problem.message)
    return Complaint(name, int(line[1]), problem.field, problem.message[line.end() :])


def _line_of(field: str, lines: dict[str, int]) -> int:
    """The line of a field, or of the nearest thing around it that was written down."""
    while field not in lines and field:
        field = re.sub(r"(\.|\[)?[^.\[]*$", "", field, count=1)
    return lines.get(field, 0)


def _folder(manifest: Path, parsed: Manifest, line: int) -> Iterator[Complaint]:
    folder = manifest.parent / (parsed.spec.source.folder or ".")
    try:
        files = {entry.path for entry in survey(folder)}
    except InvalidBundle as error:
        for problem in error.problems:
            yield Complaint(str(folder / problem.field), 0, "", problem.message)
        if not error.problems:
            yield Complaint(str(folder), 0, "", error.detail)
    except OSError as error:
        yield Complaint(str(folder), 0, "", f"cannot be read: {error.strerror}")
    else:
        yield from _entrypoint(manifest, parsed, folder, files, line)


def _entrypoint(
    manifest: Path, parsed: Manifest, folder: Path, files: set[str], line: int
) -> Iterator[Complaint]:
    module = (parsed.spec.entrypoint or "").partition(":")[0].replace(".", "/")
    found = next((name for name in (f"{module}.py", f"{module}/__init__.py") if name in files), None)
    if found is None:
        yield Complaint(str(manifest), line, "spec.entrypoint", f"there is no {module}.py in the folder")
        return
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse((folder / found).read_bytes())
    except SyntaxError as error:
        yield Complaint(str(folder / found), error.lineno or 0, "", f"is not valid Python: {error.msg}")
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        yield Complaint(str(folder / found), 0, "", f"cannot be read: {error}")
