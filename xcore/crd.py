"""The CustomResourceDefinitions of Plugin and PluginClass, made from the models and the rules in CEL. Pure.

Schemas are structural: references inlined, unknown fields pruned by the server. Descriptions and defaults are the models'
own, but for what must stay told apart from a default: where the code comes from, a probe's path (an image without one is
asked for a connection) and egress (which a class may decide).
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from xcore import celrules, plugin_class
from xcore.celrules import Rule
from xcore.fields import LABEL, SUBDOMAIN
from xcore.manifest import API_VERSION, Manifest
from xcore.schema import schema_of

Node = dict[str, Any]

GROUP, _, VERSION = API_VERSION.partition("/")
_DROPPED = frozenset({"title", "additionalProperties", "const", "$ref", "anyOf"})
_NO_DEFAULT = (
    "spec.source",
    "spec.network.egress",
    "spec.probes.startup.path",
    "spec.probes.readiness.path",
    "spec.probes.liveness.path",
)
_COUNT: Node = {"type": "integer", "minimum": 0}
_TEXT: Node = {"type": "string"}
_PERHAPS: Node = {"type": "string", "nullable": True}
_TIME: Node = {"type": "string", "format": "date-time"}


def definitions() -> list[Node]:
    """Both definitions, ready to be applied."""
    return [_plugin(), _plugin_class()]


def _plugin() -> Node:
    schema = _structural(schema_of(Manifest), celrules.PLUGIN)
    schema["properties"]["metadata"] = _metadata(LABEL, 63)
    schema["properties"]["status"] = deepcopy(STATUS)
    for path in _NO_DEFAULT:
        _at(schema, path).pop("default")
    _gather_defaults(schema)
    schema["properties"]["spec"]["required"] = ["source"]
    schema["required"] = ["spec"]
    version = {
        "additionalPrinterColumns": [*_COLUMNS, _AGE, *({**column, "priority": 1} for column in _WIDE)],
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "schema": {"openAPIV3Schema": schema},
    }
    return _definition({"kind": "Plugin", "plural": "plugins", "shortNames": ["plg"]}, "Namespaced", version)


def _plugin_class() -> Node:
    schema = _structural(schema_of(plugin_class.PluginClass), celrules.PLUGIN_CLASS)
    schema["properties"]["metadata"] = _metadata(SUBDOMAIN, 253)
    schema.pop("required")  # apiVersion, kind and metadata every object has; spec has a default
    version = {
        "additionalPrinterColumns": [*_CLASS_COLUMNS, _AGE],
        "schema": {"openAPIV3Schema": schema},
    }
    return _definition({"kind": plugin_class.KIND, "plural": "pluginclasses"}, "Cluster", version)


def _definition(names: Node, scope: str, version: Node) -> Node:
    kind = names["kind"]
    named = {**names, "singular": kind.lower(), "listKind": f"{kind}List", "categories": ["xcore"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": named,
            "versions": [{"name": VERSION, "served": True, "storage": True, **version}],
        },
    }


def _metadata(pattern: str, longest: int) -> Node:
    """All a definition may say of metadata: its name."""
    return {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": longest, "pattern": pattern}},
    }


def _structural(schema: Node, rules: Iterable[Rule]) -> Node:
    whole: Node = _inlined(schema, schema["$defs"])
    for rule in rules:
        _at(whole, rule.at).setdefault("x-kubernetes-validations", []).append(rule.entry())
    return whole


def _inlined(node: Node, named: Node) -> Node:
    whole = {**named[node["$ref"].rpartition("/")[2]], **node} if "$ref" in node else node
    kept = {key: value for key, value in whole.items() if key not in _DROPPED and not key.startswith("$")}
    if whole.get("x-kubernetes-int-or-string"):
        kept |= {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 32,
            "pattern": celrules.QUANTITY,
        }
    if "properties" in kept:
        kept["properties"] = {name: _inlined(field, named) for name, field in kept["properties"].items()}
    if "items" in kept:
        kept["items"] = _inlined(kept["items"], named)
    return kept


def _gather_defaults(node: Node) -> None:
    """Make the default of each object what its fields have: the server judges it as it stands."""
    fields = node.get("properties", {})
    for field in fields.values():
        _gather_defaults(field)
    if fields and "default" in node:
        node["default"] = {name: field["default"] for name, field in fields.items() if "default" in field}


def _at(schema: Node, path: str) -> Node:
    node = schema
    for part in path.split("."):
        name, each, _ = part.partition("[]")
        node = node["properties"][name]
        node = node["items"] if each else node
    return node


def _column(name: str, path: str, kind: str = "string") -> Node:
    return {"name": name, "type": kind, "jsonPath": path}


def _condition(name: str, kind: str, field: str = "status") -> Node:
    return _column(name, f'.status.conditions[?(@.type=="{kind}")].{field}')


_AGE = _column("Age", ".metadata.creationTimestamp", "date")
_COLUMNS = (
    _condition("Ready", "Ready"),
    _condition("Reason", "Ready", "reason"),
    _column("Replicas", ".status.replicas", "integer"),
    _column("Restarts", ".status.restarts.count", "integer"),
    _column("Version", ".spec.version"),
)
_WIDE = (
    _column("Endpoint", ".status.endpoint"),
    _column("Image", ".status.image"),
    _column("Rating", ".status.securityRating", "integer"),
    _condition("Isolated", "NetworkIsolated"),
)
_CLASS_COLUMNS = (
    _column("Egress", ".spec.egress.maximum"),
    _column("Runtime", ".spec.runtimeClass"),
    _column("Proof", ".spec.requireProof", "boolean"),
)


def _object(description: str, **properties: Node) -> Node:
    return {"type": "object", "description": description, "properties": properties}


def _said(text: str, node: Node) -> Node:
    return {**node, "description": text}


_CONDITION = {
    **_object(
        "One side of how it is, after the Kubernetes API conventions.",
        type={"type": "string", "maxLength": 63},
        status={"type": "string", "enum": ["True", "False", "Unknown"]},
        reason=_said("One CamelCase word to script on.", {"type": "string", "maxLength": 128}),
        message=_said("A sentence for people.", {"type": "string", "maxLength": 32768}),
        lastTransitionTime=_said("When status last changed.", _TIME),
        observedGeneration=_said("Generation of the resource this was seen at.", _COUNT),
    ),
    "required": ["type", "status"],
}
STATUS = _object(
    "How it is, as the controller sees it.",
    observedGeneration=_said("Generation of the resource the rest was seen at.", _COUNT),
    replicas=_said("Instances that exist.", _COUNT),
    readyReplicas=_said("Instances that get requests.", _COUNT),
    selector=_said("Label selector of the pods, for autoscalers.", _TEXT),
    endpoint=_said("Path of the plugin behind the controller.", _TEXT),
    runtime=_said("Where it runs.", _TEXT),
    image=_said("Image it runs from.", _TEXT),
    currentRevision=_said("Revision that serves.", _TEXT),
    updateRevision=_said("Revision that is wanted.", _TEXT),
    securityRating=_said(
        "How strongly it is isolated, 1 to 8.",
        {"type": "integer", "minimum": 1, "maximum": 8, "nullable": True},
    ),
    actions=_said("Names of its actions.", {"type": "array", "items": _TEXT}),
    restarts=_object(
        "Starts again, and why.",
        count=_said("In all.", _COUNT),
        inWindow=_said("Within spec.restart.windowSeconds.", _COUNT),
        lastReason=_said("Why the last instance ended.", _PERHAPS),
        lastExitCode=_said("Its exit code.", {"type": "integer", "nullable": True}),
        lastTime=_said("When it ended.", {**_TIME, "nullable": True}),
        nextTime=_said("When the next start is due.", {**_TIME, "nullable": True}),
    ),
    conditions={
        "type": "array",
        "description": "How it is, side by side.",
        "items": _CONDITION,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    },
)
