"""The merged document: everybody's parts, which never meet, and each plugin asked for its own once an instance."""

import asyncio

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from controller.api.openapi import MAX_DOCUMENT, PluginDocuments, merged
from controller.api.parts import part_of
from integrations.grants import ANYBODY, Grant, Role
from tests.support import document as manifest_document
from xcore.endpoint import AsgiEndpoint
from xcore.errors import UpstreamUnreachable
from xcore.manifest import from_dict
from xcore.plugin import Plugin, action
from xcore.plugin.testing import serve
from xcore.routes import Route, RouteTable

BASE = {
    "openapi": "3.1.0",
    "info": {"title": "xcore", "version": "1"},
    "paths": {"/healthz": {"get": {"responses": {"200": {"description": "ok"}}}}},
    "components": {"securitySchemes": {"HTTPBearer": {"type": "http", "scheme": "bearer"}}},
}


def route(name, **spec):
    return Route(name, from_dict(manifest_document(name, **spec)))


class Sample(Plugin):
    @action
    async def move(self, to: dict[str, int]) -> dict[str, int]:
        return to


async def described(name):
    async with serve(Sample, name=name) as client:
        return part_of(name, (await client.get("openapi.json")).body)


async def test_two_plugins_with_the_same_names_do_not_meet():
    """Paths, components and operation ids are below each plugin's own name; the whole is valid."""
    one, two = await described("one"), await described("two")
    found = merged(BASE, [(route("one"), one), (route("two"), two)], ANYBODY)
    validate(found, cls=OpenAPIV31SpecValidator)
    assert set(found["paths"]) == {"/healthz", "/app/one/move", "/app/two/move"}
    operation = found["paths"]["/app/two/move"]["post"]
    assert operation["operationId"] == "two.move"
    assert operation["tags"] == ["two"]
    assert operation["security"] == [{"HTTPBearer": []}]
    assert operation["responses"]["500"] == {"$ref": "#/components/responses/two.Problem"}
    assert {"one.Problem", "two.Problem"} <= set(found["components"]["schemas"])
    assert BASE["paths"].keys() == {"/healthz"}


async def test_a_public_action_needs_no_key():
    """Its manifest says so, whatever the plugin says."""
    found = merged(
        BASE,
        [(route("one", actions=[{"name": "move", "access": "Public"}]), await described("one"))],
        ANYBODY,
    )
    assert found["paths"]["/app/one/move"]["post"]["security"] == []


class Counting:
    """A route table with one plugin, whose instance answers with this."""

    def __init__(self, status, body):
        self.routes, self.asked = RouteTable(), 0
        self.answer = status, body
        self.put("one")

    def put(self, instance):
        self.target = self.routes.target("plugin", instance, AsgiEndpoint(None, self.probe))
        self.routes.put(Route("plugin", from_dict(manifest_document("plugin")), (self.target,)))

    async def probe(self, path):
        assert path == "/openapi"
        self.asked += 1
        if self.answer[0] == 0:
            raise UpstreamUnreachable("gone")
        return self.answer


async def test_a_plugin_is_asked_once_an_instance():
    """Also when it is asked for by many, and once more when another instance serves."""
    table = Counting(200, b'{"openapi": "3.1.0"}')
    documents = PluginDocuments(table.routes)
    assert [part.left_out for _, part in await documents.all()] == [0]
    await asyncio.gather(documents.all(), documents.all())
    assert table.asked == 1
    table.put("two")
    assert len(await documents.all()) == 1
    assert table.asked == 2
    table.routes.drop("plugin")
    assert await documents.all() == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"no document\n"),
        (200, b"{not json"),
        (200, b"[]"),
        (200, b'{"openapi": "2.0"}'),
        (200, b"[" * 100_000),
        (200, b'{"openapi": "3.1.0", "paths": {"/x": {"get": {"summary": NaN}}}}'),
        (200, b'{"openapi": "3.1.0", "paths": {"/x": {"get": {"summary": 1e999}}}}'),
        (200, b'{"openapi": "3.1.0", "paths": {"/x": {"get": {"summary": "\\ud800"}}}}'),
        (200, b'{"openapi": "3.1.0", "paths": {}, "paths": {"/x": {}}}'),
        (200, b'{"openapi": "3.1.0", "info": "\xff"}'),
        (200, b'{"openapi": "3.1.0"}' + b" " * MAX_DOCUMENT),
        (0, b""),
    ],
)
async def test_what_is_no_document_is_left_out(status, body):
    """None, not JSON, not an object, another version, too deep, too large, unreachable."""
    assert await PluginDocuments(Counting(status, body).routes).all() == []


async def test_a_key_with_limits_sees_what_it_may_call():
    """Not the other action, nor what only that one speaks of, nor the other plugin; a viewer's key shows what is public."""
    spec = {"actions": [{"name": "look", "access": "Public"}]}
    parts = [(route(name, **spec), await described(name)) for name in ("one", "two")]
    limits = {"plugins": {"one"}, "actions": {"move"}}
    found = merged(BASE, parts, Grant("k1", Role.CALLER, **limits))
    assert set(found["paths"]) == {"/healthz", "/app/one/move"}
    assert found["components"]["securitySchemes"] == BASE["components"]["securitySchemes"]
    assert not [name for name in found["components"]["schemas"] if name.startswith("two.")]
    none = merged(BASE, parts, Grant("k2", Role.CALLER, actions={"nothing"}))
    assert (set(none["paths"]), set(none["components"])) == ({"/healthz"}, {"securitySchemes"})
    validate(found, cls=OpenAPIV31SpecValidator)
