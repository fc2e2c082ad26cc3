"""What a key allows."""

import pytest

from integrations.grants import SCOPES, Grant, Role, Scope

NONE = frozenset()


@pytest.mark.parametrize(
    ("limits", "asked", "allowed"),
    [
        ({"role": Role.ADMIN}, ("shop", "buy", {"orders:write"}), True),
        ({"role": Role.OPERATOR}, ("shop", "buy", NONE), True),
        ({"role": Role.OPERATOR}, ("shop", "buy", {"orders:write"}), False),
        ({"role": Role.VIEWER}, ("shop", "buy", NONE), False),
        ({}, ("shop", "buy", NONE), True),
        ({"plugins": {"shop"}}, ("shop", "buy", NONE), True),
        ({"plugins": {"shop"}}, ("shop", "", NONE), True),
        ({"plugins": {"shop"}}, ("shopping", "buy", NONE), False),
        ({"plugins": set()}, ("shop", "buy", NONE), False),
        ({"actions": {"buy"}}, ("shop", "buy", NONE), True),
        ({"actions": {"buy"}}, ("other", "buy", NONE), True),
        ({"actions": {"buy"}}, ("shop", "sell", NONE), False),
        ({"actions": {"buy"}}, ("shop", "", NONE), False),
        ({"actions": {"buy"}}, ("shop", "openapi.json", NONE), False),
        ({"plugins": {"shop"}, "actions": {"buy"}}, ("other", "buy", NONE), False),
        ({"scopes": {"orders:write"}}, ("shop", "buy", {"orders:write"}), True),
        ({"scopes": {"orders:write"}}, ("shop", "buy", {"orders:write", "orders:read"}), False),
        ({"scopes": {"orders:write", "x"}}, ("shop", "buy", {"orders:write"}), True),
    ],
)
def test_a_key_calls_what_it_is_for_and_nothing_else(limits, asked, allowed):
    """Role, plugins, actions and scopes: each of them can forbid, and the sentence says which."""
    why = Grant("k1", **{"role": Role.CALLER, **limits}).why_not(*asked)
    assert (why is None) is allowed
    assert why is None or why.startswith(("this key", "a key with the role"))


def test_the_scopes_of_the_roles():
    """Each role has exactly these; one more is a decision, and stands in the documentation."""
    everything = set(Scope)
    assert SCOPES[Role.ADMIN] == everything
    assert everything - SCOPES[Role.OPERATOR] == {
        *(Scope.KEYS_READ, Scope.KEYS_WRITE),
        *(Scope.AUDIT_READ, Scope.DOCTOR_READ),
    }
    assert SCOPES[Role.CALLER] == {Scope.ACTIONS_CALL, Scope.CALLS_READ}
    assert SCOPES[Role.VIEWER] == {
        Scope.PLUGINS_READ,
        Scope.LOGS_READ,
        Scope.EVENTS_READ,
        Scope.TASKS_READ,
    }


def test_a_key_says_nothing_secret_of_itself():
    """Its digest is in no log."""
    assert "5e" * 32 not in repr(Grant("k1", Role.ADMIN, bytes.fromhex("5e" * 32)))
