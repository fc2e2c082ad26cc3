import pytest

from xcore.testing.served import CallFailed, ServedPlugin


def test_it_greets_by_name_and_without(plugin: ServedPlugin) -> None:
    assert plugin.call("greet", name="Ada") == "Hello Ada"
    assert plugin.call("greet") == "Hello world"


def test_it_adds_by_get_and_post(plugin: ServedPlugin) -> None:
    assert plugin.get("/add", params={"a": 1, "b": 2}).json() == 3
    assert plugin.call("add", a=1) == 2


def test_what_is_not_a_number_is_named(plugin: ServedPlugin) -> None:
    with pytest.raises(CallFailed) as failed:
        plugin.call("add", a="one")

    assert failed.value.status == 422
    assert failed.value.errors == {"a": "Expected `int`, got `str`"}
