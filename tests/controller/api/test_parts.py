"""What a plugin says of itself, as a part of the whole: valid whatever it says, and leading nowhere else."""

import json

import pytest
from hypothesis import given, settings, strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from controller.api.openapi import merged
from controller.api.parts import part_of
from integrations.grants import ANYBODY
from tests.controller.api.rich import RICH
from tests.support import document as manifest_document
from xcore.manifest import from_dict
from xcore.routes import Route

BASE = {
    "openapi": "3.1.0",
    "info": {"title": "xcore", "version": "1"},
    "paths": {"/healthz": {"get": {"responses": {"200": {"description": "ok"}}}}},
    "components": {"securitySchemes": {"HTTPBearer": {"type": "http", "scheme": "bearer"}}},
}


def whole(document):
    """The merged document, once it is seen to be valid and to be JSON."""
    found = merged(
        BASE, [(Route("one", from_dict(manifest_document("one"))), part_of("one", document))], ANYBODY
    )
    validate(found, cls=OpenAPIV31SpecValidator)
    json.dumps(found, allow_nan=False)
    return found


def test_what_would_lead_elsewhere_is_dropped():
    """Servers, links, callbacks, security schemes of its own, and references that leave the document."""
    evil = {
        "openapi": "3.0.0",
        "servers": [{"url": "https://evil.example"}],
        "paths": {
            "/x": {
                "servers": [{"url": "https://evil.example"}],
                "get": {
                    "servers": [{"url": "https://evil.example"}],
                    "callbacks": {"c": {"https://evil.example": {}}},
                    "security": [{"theirs": []}],
                    "responses": {
                        "200": {
                            "description": "",
                            "links": {"l": {"server": {"url": "https://evil.example"}}},
                            "content": {"a/b": {"schema": {"$ref": "https://evil.example/schema"}}},
                        }
                    },
                },
                "post": "nonsense",
                "trace": {},
            },
            "no-slash": {},
            "/odd": 3,
        },
        "components": {
            "securitySchemes": {"theirs": {"openIdConnectUrl": "https://evil.example"}},
            "schemas": 3,
        },
    }
    found = whole(evil)
    assert "evil" not in json.dumps(found)
    assert set(found["paths"]) == {"/healthz", "/app/one/x"}
    assert set(found["paths"]["/app/one/x"]) == {"get"}


OK = {"200": {"description": "ok"}}


@pytest.mark.parametrize(
    "path",
    [
        "/../../api/v1/plugins/{name}",
        "/%2e%2e/hello/greet",
        "/x/%2E%2e/y",
        "/x/..",
        "/./x",
        "//evil.example/x",
        "/x%2fy",
        "/x\\..\\y",
        "/x?y=1",
        "/x#y",
        "/x y",
        "/ç",
        "/{x",
        "/{x!r}",
        "x",
        "",
    ],
)
def test_a_path_that_leads_elsewhere_is_not_shown(path):
    """A browser would make another path of it, and send the key there: what the data plane refuses is left out."""
    found = whole({"openapi": "3.1.0", "paths": {path: {"delete": {"responses": OK}}}})
    assert set(found["paths"]) == {"/healthz"}


def test_a_parameter_of_a_path_comes_without_a_value():
    """`..` as an example or a default would be sent by one click, and lead out of the plugin."""
    dots = [
        {"name": "a", "in": "path", "required": True, "example": "..", "schema": {"type": "string"}},
        {
            "name": "b",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "enum": [".."], "title": "B"},
        },
        {"name": "c", "in": "path", "required": True, "content": {"a/b": {"example": ".."}}},
        {"name": "d", "in": "path", "required": True, "schema": {"$ref": "#/components/schemas/Dots"}},
    ]
    found = whole(
        {
            "openapi": "3.1.0",
            "paths": {"/{a}/{b}/{c}/{d}/{e}": {"get": {"parameters": dots, "responses": OK}}},
            "components": {"schemas": {"Dots": {"default": ".."}}},
        }
    )
    (shown,) = [item["get"]["parameters"] for path, item in found["paths"].items() if path != "/healthz"]
    assert [one["schema"] for one in shown] == [
        {"type": "string"},
        {"type": "string", "title": "B"},
        {},
        {},
        {"type": "string"},
    ]
    assert ".." not in json.dumps(shown)


def test_schemas_lead_nowhere():
    """Neither by identifiers of their own, nor by dynamic references, examples elsewhere or documentation."""
    schema = {
        "$id": "https://evil.example/",
        "$schema": "https://evil.example/",
        "$dynamicRef": "https://evil.example/#a",
        "$anchor": "evil",
        "externalDocs": {"url": "javascript:evil()"},
        "properties": {"a": {"$id": "https://evil.example/"}, "$ref": {"const": "evil"}},
        "example": {"$ref": "https://evil.example/"},
        "title": "Good",
    }
    example = {"externalValue": "https://evil.example/", "value": {"$ref": "https://evil.example"}}
    responses = {
        "200": {"description": "", "content": {"a/b": {"schema": schema, "examples": {"e": example}}}}
    }
    found = whole({"openapi": "3.1.0", "paths": {"/x": {"get": {"responses": responses}}}})
    assert "evil" not in json.dumps(found)
    assert found["paths"]["/app/one/x"]["get"]["responses"]["200"]["content"]["a/b"] == {
        "schema": {"title": "Good", "properties": {"a": {}}, "example": {}},
        "examples": {"e": {"value": {}}},
    }


def renamed(value):
    """With what a plugin's names become in the whole."""
    if isinstance(value, dict):
        return {key: renamed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [renamed(one) for one in value]
    marker = "#/components/"
    if isinstance(value, str) and value.startswith(marker):
        kind, name = value.removeprefix(marker).split("/")
        return f"{marker}{kind}/one.{name}"
    return value


def test_what_is_valid_is_taken_over_as_it_is():
    """Parameters stand in each operation; all else reads as its author wrote it, under the plugin's names."""
    found = whole(RICH)
    assert part_of("one", RICH).left_out == 0
    components = renamed(RICH["components"])
    for kind in ("schemas", "requestBodies", "responses", "headers", "examples"):
        assert found["components"][kind] == {f"one.{name}": part for name, part in components[kind].items()}
    given = renamed(RICH["paths"]["/items/{id}"])
    identifier = RICH["components"]["parameters"]["Id"]
    ours = {"tags": ["one"], "security": [{"HTTPBearer": []}]}
    assert found["paths"]["/app/one/items/{id}"] == {
        "get": {
            **given["get"],
            **ours,
            "operationId": "one.get_item",
            "parameters": [identifier, *given["get"]["parameters"]],
        },
        "put": {**given["put"], **ours, "operationId": "one.put /items/{id}", "parameters": [identifier]},
    }


@pytest.mark.parametrize(
    "document",
    [
        {"paths": {"/x": {"get": {"parameters": "nope"}}}},
        {"paths": {"/x": {"get": {"description": {}, "summary": 3}}}},
        {"paths": {"/x": {"get": {"responses": {"999x": {"description": ""}}}}}},
        {"paths": {"/x": {"get": {"responses": {"200": {"$ref": "#/components/responses/none"}}}}}},
        {"paths": {}, "components": {"schemas": {"a b/ç": {}}}},
        {"paths": {"/x": {"get": {"requestBody": {"content": {"a/b": {"schema": {"type": "strnig"}}}}}}}},
        {"paths": {"/x": 3}},
        {"paths": []},
        {},
    ],
)
def test_nonsense_spoils_nothing(document):
    """The rest of the plugin's document and everybody else's are still there."""
    found = whole({"openapi": "3.1.0", **document})
    assert found["paths"]["/healthz"] == BASE["paths"]["/healthz"]


def nodes(value, at=()):
    """Every place in a document, as the keys that lead to it."""
    yield at
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from nodes(one, (*at, key))


def under(value, at):
    return under(value[at[0]], at[1:]) if at else value


def put(value, at, new):
    """The same with something else at one place."""
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = put(value[at[0]], at[1:], new)
    return copy


PLACES = [at for at in nodes(RICH) if at]
WORD = st.sampled_from(
    sorted(
        {key for at in PLACES for key in at if isinstance(key, str)} | {"", "allOf", "not", "default", "x-y"}
    )
)
SCALAR = st.one_of(
    WORD, st.none(), st.booleans(), st.integers(-2, 600), st.floats(allow_nan=False, allow_infinity=False)
)
SOME = st.recursive(
    st.one_of(SCALAR, st.sampled_from(PLACES).map(lambda at: under(RICH, at))),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORD, inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_a_plugin_says_the_whole_stays_valid(data):
    """A document with anything in some of its places, and members nobody asked for."""
    document = RICH
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.sampled_from([at for at in nodes(document) if at]))
        new = data.draw(SOME)
        old = under(document, at)
        if isinstance(old, dict) and data.draw(st.booleans()):
            new = {**old, data.draw(WORD): new}
        document = put(document, at, new)
    whole(document)


@pytest.mark.parametrize(
    "schemas",
    [
        {"A": {"$ref": "#/components/schemas/A"}},
        {"A": {"$ref": "#/components/schemas/B"}, "B": {"$ref": "#/components/schemas/A"}},
        {"A": {"allOf": [{"$ref": "#/components/schemas/A"}], "required": ["x"]}},
        {"A": {"items": {"$ref": "#/components/schemas/A"}, "not": {"$ref": "#/components/schemas/A"}}},
        {"A": {"allOf": [{"items": {"anyOf": [{"$ref": "#/components/schemas/A"}]}}], "default": 1}},
    ],
)
def test_schemas_that_lead_to_themselves_are_borne(schemas):
    """Some are what they should be (a tree), some mean nothing; neither keeps a reader of the whole busy for ever."""
    whole({"openapi": "3.1.0", "paths": {}, "components": {"schemas": schemas}})
