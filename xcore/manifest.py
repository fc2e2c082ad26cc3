"""The Plugin resource: one document, whether it is a file, a request body or a custom resource.

`parse` reads YAML (and so JSON), `from_dict` what has been read already. Both raise InvalidManifest with a problem for each
field that is wrong, saying what is allowed there and, from YAML, on which line. Unknown fields are refused. `not_yet`
names what is valid and yet not honoured by this version: for the caller to refuse, never to ignore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from operator import attrgetter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue

from xcore import yamlsafe
from xcore.complaints import complaints
from xcore.errors import InvalidManifest, Problem
from xcore.fields import LABEL_KEY, LABEL_VALUE, TEXT, Label, Model, wrong
from xcore.schema import schema_of
from xcore.spec import ActionSpec, Spec
from xcore.yamlsafe import Lines

API_VERSION = "xcore.dev/v1alpha1"
KIND = "Plugin"

# A change of any of these makes a new revision; everything else takes effect in place.
_ROLLING = {
    *("source", "entrypoint", "env", "config", "secrets", "resources"),
    *("runtime_class", "network", "storage", "dependencies", "isolation", "legacy"),
}
# The bound Kubernetes has; `kubectl apply` keeps a copy of the whole resource in an annotation.
_MAX_ANNOTATIONS = 256 * 1024


def _not_ours(labels: dict[str, str]) -> dict[str, str]:
    for key in labels:
        if key.startswith(("xcore.dev/", "dev.xcore.")) or key == "app.kubernetes.io/managed-by":
            raise wrong("must not be one of the labels the controller sets itself", (key,))
    return labels


def _bounded(annotations: dict[str, str]) -> dict[str, str]:
    if sum(len(key) + len(value.encode()) for key, value in annotations.items()) > _MAX_ANNOTATIONS:
        raise wrong(f"must be at most {_MAX_ANNOTATIONS // 1024} KiB in all")
    return annotations


_Key = Annotated[str, Field(pattern=LABEL_KEY, max_length=317)]
_Value = Annotated[str, Field(pattern=LABEL_VALUE, max_length=63)]
_Text = Annotated[str, Field(pattern=TEXT, max_length=_MAX_ANNOTATIONS)]


class Metadata(Model):
    name: Label = Field(description="Name of the plugin, and of its route /app/<name>.")
    labels: Annotated[dict[_Key, _Value], Field(max_length=64), AfterValidator(_not_ours)] = Field(
        {}, description="Labels to find it by. Those of the controller (xcore.dev/…) are not yours to set."
    )
    annotations: Annotated[dict[_Key, _Text], Field(max_length=64), AfterValidator(_bounded)] = Field(
        {}, description="Notes for people and programs; at most 256 KiB in all."
    )


class Manifest(Model):
    """One plugin as it is wanted."""

    api_version: Literal["xcore.dev/v1alpha1"] = Field(description="Version of this format.")
    kind: Literal["Plugin"] = Field(description="Kind of this resource.")
    metadata: Metadata = Field(description="What it is called.")
    spec: Spec = Field(description="What is wanted.")

    def action(self, name: str) -> ActionSpec:
        """The settings of an action: as declared, or the defaults under that name (whatever the name is)."""
        declared = (action for action in self.spec.actions if action.name == name)
        return next(declared, None) or _ANY_ACTION.model_copy(update={"name": name})

    def to_dict(self, *, exclude_unset: bool = True) -> dict[str, JsonValue]:
        """The resource as JSON data, `from_dict`'s inverse: what its author set, or with every default spelled out."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=exclude_unset, exclude_none=True)

    def wish(self) -> dict[str, JsonValue]:
        """What is wanted, as JSON data without what holds by default: equal for equal wishes, whoever filled in what."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)

    def rolling(self) -> dict[str, JsonValue]:
        """Only what rolls an instance, as JSON data; equal for equal wishes, however they are written.

        Fields at their default are left out, so that a field added in a later version rolls nobody.
        """
        wanted = self.spec.model_dump(mode="json", by_alias=True, include=_ROLLING, exclude_defaults=True)
        if self.spec.calls:
            wanted["calls"] = True  # whom it may call changes in place; that it may call at all does not
        limits = self.spec.resources
        wanted["resources"] = {
            "cpu": limits.cpu_cores,
            "memory": limits.memory_bytes,
            "pids": limits.pids_limit,
            "tmp": limits.tmp_bytes,
        }
        return wanted


_ANY_ACTION = ActionSpec(name="any")
_DEFAULTS = Spec(entrypoint="main:Plugin")


def parse(text: bytes, *, name: str) -> Manifest:
    """The manifest in a YAML or JSON document. `name` is what errors call it: a file name, never a whole path."""
    data, lines = yamlsafe.load(text, name=name)
    return from_dict(data, name=name, lines=lines)


def from_dict(data: object, *, name: str = "the manifest", lines: Lines | None = None) -> Manifest:
    """The manifest in data that came from JSON. `lines` are those of `yamlsafe.load`."""
    try:
        return Manifest.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as error:
        problems = complaints(error, schema=schema_of(Manifest), lines=lines or {})
        raise InvalidManifest(f"{name} is not a valid Plugin", problems) from None


def json_schema() -> JsonSchemaValue:
    """JSON Schema (draft 2020-12) of the resource, with Kubernetes' extensions for lists and quantities."""
    return {**deepcopy(schema_of(Manifest)), "title": KIND}


# Valid, but version 0.1 honours the default alone.
_ONLY_DEFAULT = (
    "traffic.retry",
    "traffic.circuit_breaker",
    "network.egress",
    "network.allow",
    "scaling",
)
# What only a cluster honours.
_CLUSTER_ONLY = ("source.config_map", "plugin_class_name", "replicas", "storage", "update.on_failure")
# The runner inside the sandbox serves its own probes; only an image brings its own paths.
_RUNNER_SERVED = ("probes.startup.path", "probes.readiness.path", "probes.liveness.path")


def not_yet(manifest: Manifest) -> list[Problem]:
    """What no runtime of this version honours: refuse it as NotSupported, whatever the runtime is."""
    return [problem for check in _CHECKS for problem in check(manifest.spec)]


def beyond_one_machine(manifest: Manifest) -> list[Problem]:
    """What takes a cluster: for the engines of one machine to refuse."""
    return list(_beyond_default(manifest.spec, _CLUSTER_ONLY, "outside a cluster"))


def _unsupported_fields(spec: Spec) -> Iterator[Problem]:
    return _beyond_default(spec, _ONLY_DEFAULT)


def _probe_paths(spec: Spec) -> Iterator[Problem]:
    return _beyond_default(spec, () if spec.source.image else _RUNNER_SERVED)


_CHECKS: tuple[Callable[[Spec], Iterator[Problem]], ...] = (
    _unsupported_fields,
    _probe_paths,
)


def _beyond_default(spec: Spec, paths: tuple[str, ...], where: str = "in this version") -> Iterator[Problem]:
    for path in paths:
        default = attrgetter(path)(_DEFAULTS)
        if attrgetter(path)(spec) != default:
            allowed = str(default) if isinstance(default, str | int) else "left at its default"
            yield Problem(f"spec.{'.'.join(map(to_camel, path.split('.')))}", f"must be {allowed} {where}")
