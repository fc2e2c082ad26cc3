"""Every route demands a scope, and every role gets exactly what it is there for."""

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from integrations.admin.access import Demand
from integrations.grants import Role
from tests.controller.api.conftest import authorized

# Open to everybody: they tell nothing of plugins, but to whoever shows a key (/openapi.json).
OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/docs/page.js"),
    ("GET", "/docs/swagger-ui-bundle.js"),
    ("GET", "/docs/swagger-ui.css"),
}
ADMIN, OPERATOR, CALLER, VIEWER = Role
READERS, WRITERS, CALLERS = {ADMIN, OPERATOR, VIEWER}, {ADMIN, OPERATOR}, {ADMIN, OPERATOR, CALLER}
NOTHING = {"name": "nobody", "id": "nothing", "task_id": "nothing", "call_id": "nothing"}
# Who is let in, and what they are told where there is no such thing, or nothing is sent.
ROUTES = {
    ("GET", "/api/v1/plugins"): (READERS, 200),
    ("POST", "/api/v1/plugins"): (WRITERS, 415),
    ("GET", "/api/v1/plugins/{name}"): (READERS, 404),
    ("PUT", "/api/v1/plugins/{name}"): (WRITERS, 415),
    ("PATCH", "/api/v1/plugins/{name}"): (WRITERS, 415),
    ("DELETE", "/api/v1/plugins/{name}"): (WRITERS, 404),
    ("GET", "/api/v1/plugins/{name}/revisions"): (READERS, 404),
    ("POST", "/api/v1/plugins/{name}/rollback"): (WRITERS, 415),
    ("GET", "/api/v1/plugins/{name}/status"): (READERS, 404),
    ("GET", "/api/v1/plugins/{name}/logs"): (READERS, 404),
    ("GET", "/api/v1/plugins/{name}/events"): (READERS, 404),
    ("POST", "/api/v1/plugins/{name}/restart"): (WRITERS, 404),
    ("POST", "/api/v1/plugins/{name}/suspend"): (WRITERS, 404),
    ("POST", "/api/v1/plugins/{name}/resume"): (WRITERS, 404),
    ("GET", "/api/v1/events"): (READERS, 200),
    ("GET", "/api/v1/tasks"): (READERS, 200),
    ("GET", "/api/v1/tasks/{task_id}"): (READERS, 404),
    ("GET", "/api/v1/tasks/{task_id}/runs"): (READERS, 404),
    ("POST", "/api/v1/tasks/{task_id}/run"): (WRITERS, 404),
    ("GET", "/api/v1/calls"): (CALLERS, 200),
    ("GET", "/api/v1/calls/{call_id}"): (CALLERS, 404),
    ("POST", "/api/v1/calls/{call_id}/retry"): (CALLERS, 404),
    ("GET", "/api/v1/audit"): ({ADMIN}, 200),
    ("GET", "/api/v1/keys"): ({ADMIN}, 200),
    ("POST", "/api/v1/keys"): ({ADMIN}, 415),
    ("GET", "/api/v1/keys/{id}"): ({ADMIN}, 404),
    ("DELETE", "/api/v1/keys/{id}"): ({ADMIN}, 404),
    ("GET", "/api/v1/doctor"): ({ADMIN}, 200),
}


def routes_of(app):
    """All but those below /app: what is called there is judged as every request to a plugin is."""
    return {
        (method, route.path): route
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, APIRoute) and not route.path.startswith("/app/")
        for method in route.methods
    }


def demanded(route):
    """The scopes that a route demands."""
    found, waiting = [], [route.dependant]
    while waiting:
        dependant = waiting.pop()
        waiting += dependant.dependencies
        found += [dependant.call.scope] if isinstance(dependant.call, Demand) else []
    return found


async def test_every_route_declares_one_scope(app):
    """A route that was added without one fails here, and one that nobody put into the table below, too."""
    routes = routes_of(app)
    assert {key for key, route in routes.items() if len(demanded(route)) != 1} == OPEN
    assert routes.keys() - OPEN == ROUTES.keys()


@pytest.mark.parametrize("role", Role)
async def test_each_role_gets_what_it_is_there_for(client, role):
    """Each route, each role, the exact status: 403 for what it may not, else what there is to say."""
    told, expected = {}, {}
    for (method, path), (allowed, status) in ROUTES.items():
        answer = await client.request(method, path.format_map(NOTHING), headers=authorized(role))
        told[method, path] = answer.status_code
        expected[method, path] = status if role in allowed else 403
        if answer.status_code == 403:
            assert answer.headers["xcore-reason"] == "Forbidden"
            assert role in answer.json()["detail"]
    assert told == expected


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Basic eHh4OnH=")],
        [("Authorization", "the-key-of-the-admin")],
        [("Authorization", f"Bearer {'x' * 10_240}")],
        [("Authorization", "Bearer the-key-of-the-admin\x00")],
        [("Authorization", b"Bearer sch\xfcssel")],
        [("Authorization", "Bearer the-key-of-the-admin"), ("Authorization", "Bearer the-key-of-the-admin")],
    ],
    ids=["none", "empty", "bare", "basic", "no-scheme", "10-KiB", "nul", "latin-1", "twice"],
)
async def test_without_one_good_key_every_route_is_401(app, client, headers):
    """With the same words, whatever is wrong with it and whatever is asked for."""
    told = set()
    for method, path in ROUTES:
        app.state.gate._failures.clear()
        url = path.format_map(NOTHING)
        answer = await client.request(method, url, headers=headers, content=b"{")
        body = answer.json()
        told.add((answer.status_code, answer.headers["www-authenticate"], body["reason"], body["detail"]))
    assert len(told) == 1
    assert next(iter(told))[:3] == (401, "Bearer", "Unauthenticated")


async def test_wrong_keys_are_limited_and_good_ones_are_not(client):
    """The eleventh wrong key is 429 and told when to come back; a good one is let in from the same address meanwhile."""
    wrong = {"Authorization": "Bearer wrong"}
    answers = [await client.get("/api/v1/plugins", headers=wrong) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert answers[-1].headers["retry-after"] == "6"
    assert answers[-1].json()["reason"] == "RateLimited"
    assert (await client.get("/api/v1/plugins", headers=authorized("viewer"))).status_code == 200
