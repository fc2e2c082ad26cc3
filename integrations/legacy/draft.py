"""A Plugin resource in the making, with what was said of each old field: where it went, or why it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from xcore.errors import InvalidManifest, InvalidSpec, Problem
from xcore.manifest import API_VERSION, KIND, Manifest, from_dict
from xcore.spec import Spec

_NUMERIC = tuple("+-.0123456789")


class _Dumper(yaml.SafeDumper):
    """Quotes text that one reader of YAML or another could take for a number, or whose breaks it would fold."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = '"' if text.startswith(_NUMERIC) or not text.isprintable() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


@dataclass(frozen=True, slots=True)
class Said:
    """What became of one old field: `becomes` is empty where nothing takes its place."""

    field: str
    becomes: str
    note: str = ""


@dataclass(slots=True)
class Draft:
    """Made by the rules of `fields`; whoever wants the manifest gets it whole or not at all."""

    metadata: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def put(self, old: str, path: str, value: Any, note: str = "") -> None:
        """Set `path`, such as spec.resources.memory."""
        top, *parents, last = path.split(".")
        place = self.metadata if top == "metadata" else self.spec
        for step in parents:
            place = place.setdefault(step, {})
        place[last] = value
        self.said.append(Said(old, path, note))

    def drop(self, old: str, note: str) -> None:
        self.said.append(Said(old, "", note))

    def refuse(self, old: str, message: str) -> None:
        self.problems.append(Problem(old, message))

    def document(self) -> dict[str, Any]:
        """Give it in the order of the reference."""
        order = [field.alias or name for name, field in Spec.model_fields.items()]
        spec = {key: self.spec[key] for key in order if key in self.spec}
        return {"apiVersion": API_VERSION, "kind": KIND, "metadata": self.metadata, "spec": spec}

    def text(self) -> str:
        """Give the document as YAML, as strictly written as it will be read."""
        return yaml.dump(self.document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)

    def manifest(self) -> Manifest:
        """Raise InvalidSpec with everything that is wrong, by the names of the old fields."""
        problems = list(self.problems)
        try:
            made = from_dict(self.document())
        except InvalidManifest as error:
            problems += self._by_old_names(error.problems)
        if problems:
            raise InvalidSpec("the manifest of the old system cannot be taken over", problems)
        return made

    def _by_old_names(self, problems: tuple[Problem, ...]) -> Iterator[Problem]:
        """What a refused field would have become is missing for a reason that was told already."""
        for problem in problems:
            said = [one for one in self.said if one.becomes and problem.field.startswith(one.becomes)]
            nearest = max(said, key=lambda one: len(one.becomes), default=None)
            if nearest is not None:
                yield Problem(nearest.field, f"becomes {problem.field}, which {problem.message}")
            elif not self.problems:
                yield problem
