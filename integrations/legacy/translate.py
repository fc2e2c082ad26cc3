"""What an old folder says, as a Plugin resource. Pure: each old field is mapped, left out with a word, or refused.

Never less isolated than a new plugin: nothing here widens anything, `trusted` counts only where the operator names the
plugin, and what reached out of the folder in the old system (host variables, absolute paths) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from integrations.legacy.draft import Draft, Said
from integrations.legacy.fields import RULES
from integrations.legacy.old import INFO, REQUIREMENTS, Old
from xcore.instance_spec import Isolation
from xcore.plugin.legacy.names import label

_PREFIX = re.compile(r"/app/([^/]+)/?")
_OLD_FASTAPI = "fastapi"
# Of PLUGIN_INFO; the code has them still.
_FOR_CODE = "is for the code, which has it still"


class Field(NamedTuple):
    """One old field: as a person finds it, and what it holds."""

    label: str
    value: Any


def translate(old: Old, *, trusted: frozenset[str] = frozenset()) -> Draft:
    """Give the resource in the making; `trusted` are the plugins that may run in the controller."""
    draft = Draft()
    fields = dict(_fields(old))
    _name(draft, fields, old)
    draft.spec["legacy"] = {}
    if "entry_point" not in fields:
        fields["entry_point"] = Field("entry_point", old.entry)
    for key, found in fields.items():
        rule = RULES.get(key)
        if rule is not None:
            rule(draft, found.label, found.value, old)
        elif key not in {"name", "Api_prefix"}:
            _other(draft, key, found)
    _dependencies(draft, fields.get("dependencies"), old)
    _isolation(draft, fields.get("execution_mode"), trusted)
    return draft


def _fields(old: Old) -> Iterator[tuple[str, Field]]:
    """PLUGIN_INFO says it first, as in the old system; the manifest says the rest."""
    info = old.info or {}
    for key, value in info.items():
        yield key, Field(f"{INFO}.{key}", value)
    for key, value in old.manifest.items():
        if key not in info:
            yield key, Field(key, value)


def _other(draft: Draft, key: str, found: Field) -> None:
    if found.label.startswith(INFO):
        draft.drop(found.label, _FOR_CODE)
        return
    draft.spec.setdefault("config", {})[key] = found.value
    draft.said.append(Said(key, f"spec.config.{key}"))


def _name(draft: Draft, fields: dict[str, Field], old: Old) -> None:
    """Where the old path was /app/<something>, that is the name, so that the path stays."""
    prefix = fields.get("Api_prefix")
    found = _PREFIX.fullmatch(str(prefix.value)) if prefix is not None else None
    named = fields.get("name", Field("the folder's name", old.folder))
    source = Field(prefix.label, found[1]) if prefix is not None and found else named
    name = label(str(source.value))
    if not name:
        draft.refuse(source.label, "must hold a letter or a digit: it becomes the plugin's name")
        return
    same = name == source.value
    note = f"it answers at /app/{name}"
    draft.put(
        source.label,
        "metadata.name",
        name,
        note if same else f"{source.value!s:.63} is no name today; {note}",
    )
    if prefix is not None and not found:
        draft.drop(prefix.label, f"what lay below {prefix.value!s:.63} lies below /app/{name}")
    if "name" in fields and source is not named:
        draft.drop(named.label, "the path decides the name")


def _dependencies(draft: Draft, listed: Field | None, old: Old) -> None:
    wanted: list[Any] = []
    if listed is not None:
        wanted += listed.value if isinstance(listed.value, list | tuple) else [listed.value]
        draft.put(listed.label, "spec.dependencies", wanted)
    for line in old.requirements:
        if line.startswith("-"):
            draft.refuse(REQUIREMENTS, f"must hold names and versions only, no options; got {line[:63]}")
    lines = [line for line in old.requirements if not line.startswith("-") and line not in wanted]
    if lines:
        wanted += lines
        draft.put(REQUIREMENTS, "spec.dependencies", wanted, "locked by `xcore pack`")
    if old.fastapi and not any(re.match(r"fastapi\b", str(one), re.IGNORECASE) for one in wanted):
        wanted.append(_OLD_FASTAPI)
        note = "the code imports it, and a sandbox has nothing but what it names; `xcore pack` locks it"
        draft.put("import fastapi", "spec.dependencies", wanted, note)


def _isolation(draft: Draft, mode: Field | None, trusted: frozenset[str]) -> None:
    """Run in the controller only what asks for it and is listed by the operator."""
    if mode is None:
        return
    wish = str(mode.value).lower()
    name = draft.metadata.get("name")
    if wish not in {"trusted", "legacy", "sandboxed", "ephemeral"}:
        draft.refuse(mode.label, f"must be trusted, sandboxed or legacy; got {wish[:63]!r}")
    elif wish in {"trusted", "legacy"} and name in trusted:
        draft.put(mode.label, "spec.isolation", str(Isolation.TRUSTED), "XCORE_TRUSTED names it")
        for key, whose in (("dependencies", "libraries"), ("env", "environment")):
            if draft.spec.pop(key, None) is not None:
                draft.drop(f"spec.{key}", f"a trusted plugin has the controller's {whose}, and no other")
    else:
        note = "" if wish == "sandboxed" else "in a sandbox, unless XCORE_TRUSTED names it"
        draft.put(mode.label, "spec.isolation", str(Isolation.SANDBOXED), note)
