"""Every operation of the API is shown by example, and no example is one that its own schema refuses."""

import json

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

METHODS = {"get", "put", "post", "patch", "delete"}


def operations(document):
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if path.startswith("/api/v1") and method in METHODS
    }


def contents(operation):
    """What is sent and what is answered: where, and each kind of content."""
    bodies = {"body": operation["requestBody"]} if "requestBody" in operation else {}
    for where, told in {**bodies, **operation["responses"]}.items():
        for kind, content in told.get("content", {}).items():
            yield f"{where} {kind}", content


def shown(document, content):
    """The examples of a content, which stand in the document's components."""
    names = [example["$ref"].rpartition("/")[2] for example in content.get("examples", {}).values()]
    return [document["components"]["examples"][name]["value"] for name in names]


def wrong(document, schema, example):
    whole = {**schema, "components": document["components"]}
    return [
        error.message
        for error in OAS31Validator(whole, format_checker=oas31_format_checker).iter_errors(example)
    ]


@pytest.fixture
def document(app):
    return app.openapi()


def test_every_body_and_every_answer_has_an_example(document):
    """Of every kind of content; an answer without a body is told by its status alone."""
    assert [
        f"{name}: {where}"
        for name, operation in operations(document).items()
        for where, content in contents(operation)
        if not shown(document, content)
    ] == []
    assert [
        name
        for name, operation in operations(document).items()
        if not any(told.get("content") for status, told in operation["responses"].items() if status[0] == "2")
    ] == []


def test_no_example_is_one_that_its_schema_refuses(document):
    """Formats too; those of parameters as well."""
    judged, found = 0, []
    for name, operation in operations(document).items():
        told = [
            (where, content["schema"], shown(document, content)) for where, content in contents(operation)
        ]
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            told.append((parameter["name"], schema, schema.get("examples", [])))
        for where, schema, examples in told:
            judged += len(examples)
            found += [
                f"{name}: {where}: {error}" for one in examples for error in wrong(document, schema, one)
            ]
    assert found == []
    assert judged > 90


def test_every_example_and_every_schema_is_referred_to(document):
    """What nothing leads to would be out of date one day."""
    written = json.dumps(document)
    named = [
        f"#/components/{kind}/{name}"
        for kind in ("examples", "schemas")
        for name in document["components"][kind]
    ]
    assert [name for name in named if f'"{name}"' not in written] == []


def test_an_example_of_another_kind_would_be_refused(document):
    """The schemas of answers are not so wide that anything fits."""
    answer = operations(document)["GET /api/v1/keys/{id}"]["responses"]["200"]
    schema = answer["content"]["application/json"]["schema"]
    [example] = shown(document, answer["content"]["application/json"])
    assert wrong(document, schema, {**example, "createdAt": "yesterday"}) == [
        "'yesterday' is not a 'date-time'"
    ]
    assert wrong(document, schema, {**example, "state": "Lost"}) != []


def test_every_link_leads_to_an_operation_and_a_parameter_of_it(document):
    """The document is a valid one as a whole."""
    validate(document, cls=OpenAPIV31SpecValidator)
    led = 0
    for operation in operations(document).values():
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                _, _, path, method = link["operationRef"].split("/")
                path = path.replace("~1", "/").replace("%7B", "{").replace("%7D", "}")
                parameters = {each["name"] for each in document["paths"][path][method]["parameters"]}
                assert link["parameters"].keys() <= parameters
                led += 1
    assert led > 20
