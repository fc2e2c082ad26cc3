"""`xcore test` serves the plugin in a sandbox and runs this against it."""

from xcore.testing.served import ServedPlugin


def test_it_greets(plugin: ServedPlugin) -> None:
    assert plugin.get("/greet/Ada").json() == {"greeting": "Hello Ada"}


def test_its_documentation_knows_where_it_is_served(plugin: ServedPlugin) -> None:
    assert f"/app/{plugin.name}/openapi.json" in plugin.get("/docs").text
