"""The CustomResourceDefinitions: structural, small, bounded, and of one mind with the models they are made from."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.kubernetes import vectors
from xcore import crd, plugin_class
from xcore.errors import InvalidManifest
from xcore.manifest import Manifest, from_dict
from xcore.restart import Restarts
from xcore.runtimes.seams import Observed
from xcore.status import Facts, build
from xcore.workload import Exit, ExitReason

LARGEST = 100 * 1024
# What a structural schema may not say, or says otherwise.
REFUSED = {"$ref", "$defs", "const", "additionalProperties", "patternProperties", "propertyNames", "title"}
DEFINITIONS = {one["spec"]["names"]["kind"]: one for one in crd.definitions()}


def schema(kind: str = "Plugin") -> dict[str, Any]:
    (version,) = DEFINITIONS[kind]["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def nodes(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, with its path."""
    yield path, node
    for name, field in node.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}".lstrip("."))
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_it_is_structural_and_below_its_size(kind):
    """Each definition is at most 100 KiB, so that `kubectl apply` can annotate it, and says only what a structural schema may."""
    assert len(json.dumps(DEFINITIONS[kind])) <= LARGEST
    for path, node in nodes(schema(kind)):
        assert not REFUSED & node.keys(), path
        assert "type" in node or "x-kubernetes-int-or-string" in node, path


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_everything_wanted_is_bounded(kind):
    """No text, list or number of a spec can be of any size: the server's cost estimate and ours rest on it."""
    for path, node in nodes(schema(kind)["properties"]["spec"], "spec"):
        match node.get("type"):
            case "string":
                assert "maxLength" in node or "enum" in node, path
            case "array":
                assert "maxItems" in node, path
            case "integer" | "number":
                assert {"minimum", "maximum"} <= node.keys(), path


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_every_field_is_explained(kind):
    """`kubectl explain` has a sentence for each field."""
    silent = {
        path
        for path, node in nodes(schema(kind))
        if path and not path.endswith("[]") and "description" not in node
    }
    assert {path for path in silent if not path.startswith(("metadata", "status.conditions"))} == set()


def test_columns_and_subresources_are_those_of_the_contract():
    (version,) = DEFINITIONS["Plugin"]["spec"]["versions"]
    columns = version["additionalPrinterColumns"]
    shown = [column["name"].upper() for column in columns if not column.get("priority")]
    assert shown == ["READY", "REASON", "REPLICAS", "RESTARTS", "VERSION", "AGE"]
    assert [c["name"].upper() for c in columns if c.get("priority")] == [
        "ENDPOINT",
        "IMAGE",
        "RATING",
        "ISOLATED",
    ]
    assert set(version["subresources"]) == {"status", "scale"}
    names = DEFINITIONS["Plugin"]["spec"]["names"]
    assert (names["shortNames"], names["categories"]) == (["plg"], ["xcore"])


# -- rules in CEL --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", vectors.RULES)
def test_every_rule_has_its_vector(kind):
    """No rule goes untested, and no vector is about a rule that is gone."""
    rules, tried = vectors.RULES[kind]
    assert [rule for rule in rules if rule not in {vectors.rule_of(vector, rules) for vector in tried}] == []


@pytest.mark.parametrize("pair", [pair for pair in vectors.EVERY if pair[1].alike], ids=vectors.ids)
def test_the_model_judges_like_the_rule(pair):
    """What the API server accepts or refuses by a rule, a manifest on disk is accepted or refused for, too."""
    kind, vector = pair
    read = from_dict if kind == "Plugin" else plugin_class.from_dict
    for spec in vector.good:
        read(vectors.resource(kind, spec))
    for spec in vector.bad:
        with pytest.raises(InvalidManifest):
            read(vectors.resource(kind, spec))


# -- defaults ------------------------------------------------------------------------------------------------------


def with_defaults(node: dict[str, Any], value: Any) -> Any:
    """As the API server fills them in."""
    if isinstance(value, list):
        return [with_defaults(node["items"], item) for item in value]
    if not isinstance(value, dict) or "properties" not in node:
        return value
    missing = {
        name: field["default"]
        for name, field in node["properties"].items()
        if "default" in field and name not in value
    }
    return {
        name: with_defaults(node["properties"][name], inner) for name, inner in {**value, **missing}.items()
    }


def stored(**spec: Any) -> Manifest:
    document = vectors.resource("Plugin", spec)
    return from_dict({**document, "spec": with_defaults(schema()["properties"]["spec"], spec)})


@pytest.mark.parametrize("spec", [vectors.CODE, vectors.IMAGE, vectors.code(actions=[{"name": "a"}])])
def test_defaults_of_the_server_are_those_of_the_model(spec):
    """A resource read back from the server, defaults and all, is the one its author wrote, and rolls nobody."""
    written, read = from_dict(vectors.resource("Plugin", spec)), stored(**spec)
    assert read == written
    assert read.rolling() == written.rolling()


def test_what_must_be_told_apart_from_a_default_has_none():
    """An image without probe paths keeps none, and a class can tell that nothing was said of egress."""
    spec = stored(**vectors.IMAGE).spec
    for probe in (spec.probes.startup, spec.probes.readiness, spec.probes.liveness):
        assert "path" not in probe.model_fields_set
    assert "egress" not in spec.network.model_fields_set


# -- status --------------------------------------------------------------------------------------------------------


def nullable(node: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's nullable as JSON Schema says it; and closed, as pruning would close it."""
    node = dict(node)
    if "properties" in node:
        node |= {
            "properties": {k: nullable(v) for k, v in node["properties"].items()},
            "additionalProperties": False,
        }
    if "items" in node:
        node["items"] = nullable(node["items"])
    if node.pop("nullable", False):
        node["type"] = [node["type"], "null"]
    return node


@pytest.mark.parametrize("last", [None, Exit(ExitReason.Signal, -9, 1.0, "killed", served=True)])
def test_every_status_we_build_fits_its_schema(last):
    """No field of a status is pruned or refused by the API server."""
    history = Restarts(count=1, recent=(5.0,), consecutive=1, last=last, next_time=20.0)
    seen = Observed(
        plugin="hello",
        runtime="kubernetes",
        wanted=None,
        suspended=False,
        instances=(),
        restarts=history,
        wanted_at=0.0,
        settled=False,
    )
    facts = Facts(
        "hello", 1, None, seen, suspended=False, isolated=("Unknown", "NotProbed", ""), actions=("greet",)
    )
    for status in (build(facts, 10.0), {"selector": "xcore.dev/plugin=hello", "securityRating": 5}):
        jsonschema.validate(status, nullable(schema()["properties"]["status"]))
