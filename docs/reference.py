#!/usr/bin/env python3
"""Writes the parts of the reference that the code knows best: `python docs/reference.py`.

They stand in their pages between `<!-- generated: NAME -->` and `<!-- end -->`; tests/test_docs.py holds them against
the code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import typer
import yaml
from pydantic_core import PydanticUndefined

from controller.cli import COMMANDS, load_command
from controller.settings import CONFIG_VARIABLE, Connection, Settings
from integrations.grants import SCOPES, Role, Scope
from xcore import manifest
from xcore.fields import SHAPES
from xcore.plugin_class import PluginClass
from xcore.schema import schema_of

ROOT = Path(__file__).resolve().parent.parent
Node = Mapping[str, Any]
# Defaults that depend on the machine, in words.
COMPUTED = {
    "state_dir": "`/var/lib/xcore` for root, else `xcore` in `$XDG_STATE_HOME` or `~/.local/state`",
    "sandbox_image": "`xcore/sandbox:` and a hash of the code in it",
}


def settings_table() -> str:
    lines = ["| Setting | Default | Allowed | Meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        value = field.get_default()
        default = COMPUTED.get(name) or (f"`{value}`" if value not in (None, (), {}) else "none")
        extra = field.json_schema_extra
        choices = " \\| ".join(f"`{choice}`" for choice in get_args(field.annotation))
        allowed = extra["allowed"] if isinstance(extra, dict) else choices
        lines.append(f"| `XCORE_{name.upper()}` | {default} | {allowed} | {field.description} |")
    for name, field in Connection.model_fields.items():
        value = field.get_default()
        default = "none" if value in {None, PydanticUndefined} else f"`{value}`"
        meaning = f"{str(field.description)[0].lower()}{str(field.description)[1:]}"
        lines.append(
            f"| `XCORE_{name.upper()}` | {default} | | Of the controller the command line asks: {meaning} |"
        )
    lines.append(
        f"| `{CONFIG_VARIABLE}` | none | a YAML file | What `--config` names, where that is absent. |"
    )
    return "\n".join(lines)


def _commands() -> Iterator[tuple[str, Any]]:
    for name in COMMANDS:
        command = load_command(name)
        inner = getattr(command, "commands", {})
        yield from ((f"{name} {each}", inner[each]) for each in inner) if inner else [(name, command)]


def commands_text() -> str:
    lines = []
    for name, command in _commands():
        context = typer.Context(command, info_name=f"xcore {name}")
        arguments, listed = [], []
        for param in command.params:
            shown, text = param.get_help_record(context) or ("", "")
            if param.param_type_name == "argument":
                shown = shown.partition(" <")[0]
                arguments.append(shown)
            listed += [f"- `{shown}`: {' '.join(text.split())}"] if shown else []
        usage = " ".join([f"xcore {name}", "[OPTIONS]", *arguments])
        lines += [f"### xcore {name}", "", command.help, "", f"`{usage}`", "", *listed]
        lines.append("")
    return "\n".join(lines).rstrip()


def manifest_text() -> str:
    return _tables(manifest.json_schema())


def class_text() -> str:
    return _tables(schema_of(PluginClass))


def values_table() -> str:
    schema = json.loads((ROOT / "helm/values.schema.json").read_text("utf-8"))
    values = yaml.safe_load((ROOT / "helm/values.yaml").read_text("utf-8"))
    lines = ["| Value | Default | Meaning |", "|---|---|---|"]
    for path, node, value in _values(schema, values, ""):
        allowed = f" One of {', '.join(f'`{choice}`' for choice in node['enum'])}." if "enum" in node else ""
        lines.append(f"| `{path}` | `{json.dumps(value)}` | {node['description']}{allowed} |")
    return "\n".join(lines)


def _values(schema: Node, values: Node, place: str) -> Iterator[tuple[str, Node, Any]]:
    for name, value in values.items():
        node, path = schema["properties"][name], f"{place}.{name}".lstrip(".")
        if "properties" in node and value and not isinstance(next(iter(value.values())), dict):
            yield from _values(node, value, path)
        else:
            yield path, node, value


def _tables(schema: Node) -> str:
    lines: list[str] = []
    for place, node in _objects(schema, schema, ""):
        lines += [
            f"### {place or 'The document'}",
            "",
            *([node["description"], ""] if "description" in node else []),
        ]
        lines += ["| Field | Type | Default | Allowed | Meaning |", "|---|---|---|---|---|"]
        lines += [
            _row(f"{place}.{name}".lstrip("."), name, field, node, schema)
            for name, field in node["properties"].items()
        ]
        lines.append("")
    return "\n".join(lines).rstrip()


def _objects(schema: Node, node: Node, place: str) -> Iterator[tuple[str, Node]]:
    node = _whole(schema, node)
    if "properties" in node:
        yield place, node
        for name, field in node["properties"].items():
            yield from _objects(schema, field, f"{place}.{name}".lstrip("."))
    elif "items" in node:
        yield from _objects(schema, node["items"], f"{place}[]")


def _whole(schema: Node, node: Node) -> Node:
    return {**schema["$defs"][node["$ref"].rpartition("/")[2]], **node} if "$ref" in node else node


def _row(place: str, name: str, field: Node, node: Node, schema: Node) -> str:
    field = _whole(schema, field)
    item = _whole(schema, field.get("items", {}))
    kind = field.get("type", "quantity")
    if "properties" in field or "properties" in item:
        anchor = re.sub(r"[^a-z0-9]", "", f"{place}[]".lower())
        kind = f"[{kind}](#{anchor})"
    default = _default(field) if "default" in field else "required" * (name in node.get("required", ()))
    text = " ".join([field.get("description", ""), _notes(place)]).strip()
    cells = [f"`{name}`", kind, default, _allowed(field, item), text]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(field: Node) -> str:
    value = field["default"]
    if isinstance(value, dict) and "properties" in field:
        return "those of its fields"
    return f"`{value or json.dumps(value)}`"


def _allowed(field: Node, item: Node) -> str:
    told = []
    for part in (field, item):
        told += [
            ", ".join(f"`{value}`" for value in part.get("enum", [part["const"]] if "const" in part else []))
        ]
        told += [SHAPES[part["pattern"]]] if "pattern" in part else []
        if "minimum" in part or "maximum" in part:
            told.append(f"{part['minimum']} to {part['maximum']}")
        told += [f"at most {part['maxLength']} characters"] if "maxLength" in part else []
        told += [f"at most {part['maxItems']} items"] if "maxItems" in part else []
    return "; ".join(filter(None, told))


def _notes(place: str) -> str:
    name = place.removeprefix("spec.").replace("[]", "")
    snake = re.sub(r"([A-Z])", r"_\1", name).lower()
    # What the documents say, the manifest's own lists decide.
    later = manifest._ONLY_DEFAULT  # noqa: SLF001
    in_clusters = ["*Only in a cluster.*"] * (snake in manifest._CLUSTER_ONLY)  # noqa: SLF001
    of_images = ["*Only for an image.*"] * (snake in manifest._RUNNER_SERVED)  # noqa: SLF001
    rolls = place.startswith("spec.") and snake in {*manifest._ROLLING, "version"}  # noqa: SLF001
    return " ".join(
        [
            *["*Not yet: keep the default.*"] * (snake in later),
            *in_clusters,
            *of_images,
            *["*Rolls.*"] * rolls,
        ]
    )


def roles_table() -> str:
    lines = [f"| Scope | {' | '.join(f'`{role}`' for role in Role)} |", "|---|" + "---|" * len(Role)]
    for scope in Scope:
        marks = " | ".join("yes" if scope in SCOPES[role] else "" for role in Role)
        lines.append(f"| `{scope}` | {marks} |")
    return "\n".join(lines)


GENERATED = {
    "roles": ("docs/keys.md", roles_table),
    "settings": ("docs/settings.md", settings_table),
    "commands": ("docs/cli.md", commands_text),
    "manifest": ("docs/manifest.md", manifest_text),
    "class": ("docs/kubernetes.md", class_text),
    "values": ("docs/kubernetes.md", values_table),
}


def with_block(text: str, name: str, content: str) -> str:
    begin = f"<!-- generated: {name} -->"
    before, _, rest = text.partition(begin)
    _, end, after = rest.partition("<!-- end -->")
    assert end, f"no block {name}"
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


if __name__ == "__main__":
    for block, (file, render) in GENERATED.items():
        page = ROOT / file
        page.write_text(with_block(page.read_text("utf-8"), block, render()), "utf-8")
