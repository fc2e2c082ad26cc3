"""Keys through the API: made, shown once, listed, revoked; and everything that may be wrong with them."""

import time

import pytest

from integrations.grants import Role
from tests.controller.api.conftest import authorized
from tests.support import document
from xcore.clock import rfc3339
from xcore.manifest import from_dict
from xcore.routes import Route

KEYS = "/api/v1/keys"
ADMIN = authorized(Role.ADMIN)


async def make(client, **said):
    answer = await client.post(KEYS, json={"name": "a key", "role": "caller", **said}, headers=ADMIN)
    assert answer.status_code == 201, answer.text
    return answer.json()


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


async def test_a_key_is_shown_once_and_works_at_once(client):
    """The answer holds it, is not to be stored, and leads to a resource without it."""
    answer = await client.post(
        KEYS, json={"name": "reader", "role": "viewer", "plugins": ["shop"]}, headers=ADMIN
    )
    made = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    read = await client.get(answer.headers["location"], headers=ADMIN)
    assert read.json() == {name: value for name, value in made.items() if name != "key"}
    assert read.headers["etag"] == answer.headers["etag"]
    assert {**read.json(), "id": "", "prefix": "", "createdAt": ""} == {
        "id": "",
        "name": "reader",
        "role": "viewer",
        "prefix": "",
        "plugins": ["shop"],
        "actions": None,
        "scopes": [],
        "state": "Active",
        "createdAt": "",
        "createdBy": "admin",
        "expiresAt": None,
        "revokedAt": None,
        "revokedBy": "",
    }
    assert made["key"].startswith(made["prefix"])
    assert (await client.get("/api/v1/plugins", headers=bearer(made["key"]))).status_code == 200
    assert made["key"] not in (await client.get(KEYS, headers=ADMIN)).text


async def test_a_key_for_some_plugins_reaches_no_others(client, app):
    """Lists are shorter, another name is 403 whether or not it is there, and no other plugin is sent."""
    key = bearer((await make(client, role="operator", plugins=["shop"]))["key"])
    statuses = {}
    for method, path in (
        ("GET", "/api/v1/plugins/shop"),
        ("GET", "/api/v1/plugins/other"),
        ("DELETE", "/api/v1/plugins/other"),
        ("POST", "/api/v1/plugins/other/restart"),
        ("GET", "/api/v1/plugins/other/logs"),
        ("GET", "/api/v1/plugins/other/events"),
    ):
        statuses[method, path] = (await client.request(method, path, headers=key)).status_code
    assert list(statuses.values()) == [404, 403, 403, 403, 403, 403]
    for name, status in (("other", 403), ("shop", 201)):
        manifest = document(name, source={"image": "team/app:1"}, entrypoint=None)
        del manifest["spec"]["entrypoint"]
        sent = await client.post("/api/v1/plugins", json=manifest, headers=key)
        assert sent.status_code == status, sent.text


async def test_a_revoked_key_is_401(client):
    """Revoking gives the key as it is now; twice is the same; who holds an old version is told 412."""
    made = await make(client)
    path, old = (
        f"{KEYS}/{made['id']}",
        (await client.get(f"{KEYS}/{made['id']}", headers=ADMIN)).headers["etag"],
    )
    assert (await client.get("/api/v1/plugins", headers=bearer(made["key"]))).status_code == 403
    revoked = await client.delete(path, headers={**ADMIN, "if-match": old})
    assert (revoked.status_code, revoked.json()["state"], revoked.json()["revokedBy"]) == (
        200,
        "Revoked",
        "admin",
    )
    assert (await client.get("/api/v1/plugins", headers=bearer(made["key"]))).status_code == 401
    stale = await client.delete(path, headers={**ADMIN, "if-match": old})
    assert (stale.status_code, stale.json()["reason"]) == (412, "PreconditionFailed")
    assert (await client.delete(path, headers=ADMIN)).json() == revoked.json()


async def test_the_same_request_again_makes_no_other_key_and_tells_none(client):
    """An Idempotency-Key answers with the same resource, without the key; with another body it is refused."""
    headers, body = {**ADMIN, "idempotency-key": "once"}, {"name": "a", "role": "caller"}
    first = await client.post(KEYS, json=body, headers=headers)
    again = await client.post(KEYS, json=body, headers=headers)
    assert again.status_code == 201
    assert {**again.json(), "key": first.json()["key"]} == first.json()
    other = await client.post(KEYS, json={**body, "name": "b"}, headers=headers)
    assert (other.status_code, other.json()["reason"]) == (422, "InvalidArguments")
    assert len((await client.get(KEYS, headers=ADMIN)).json()["items"]) == 1


@pytest.mark.parametrize(
    ("said", "field", "words"),
    [
        ({"role": "root"}, "role", "must be 'admin', 'operator', 'caller' or 'viewer'"),
        ({"role": None}, "role", "'admin', 'operator'"),
        ({"name": ""}, "name", "at least 1"),
        ({"name": "a\nb"}, "name", "one line"),
        ({"name": "x" * 101}, "name", "at most 100"),
        ({"name": 5}, "name", "string"),
        ({"plugins": []}, "plugins", "at least 1"),
        ({"plugins": ["Shop"]}, "plugins[0]", "lower-case"),
        ({"plugins": ["a", "a"]}, "plugins[1]", "must be unique"),
        ({"plugins": [f"p{n}" for n in range(101)]}, "plugins", "at most 100"),
        ({"actions": ["a b"]}, "actions[0]", "letters"),
        ({"scopes": ["nobody:asks"]}, "scopes[0]", "asked for: orders:write"),
        ({"scopes": ["a scope"]}, "scopes[0]", "letters"),
        ({"expiresAt": "tomorrow"}, "expiresAt", "a time with its zone"),
        ({"expiresAt": "2031-02-30T00:00:00Z"}, "expiresAt", "a time with its zone"),
        ({"expiresAt": "2001-01-01T00:00:00Z"}, "expiresAt", "in the future"),
        ({"expiresAt": "9999-12-31T23:59:59Z"}, "expiresAt", "at most 3660 days"),
        ({"expiresAt": 10**9}, "expiresAt", "string"),
        ({"role": "admin", "plugins": ["shop"]}, "plugins", "absent where role is admin"),
        ({"role": "admin", "actions": ["buy"]}, "actions", "absent where role is admin"),
        ({"role": "viewer", "scopes": ["orders:write"]}, "scopes", "absent where role is admin or viewer"),
        ({"key": "xck_mine"}, "key", "is not a field here"),
        ({"id": "mine"}, "id", "is not a field here"),
    ],
)
async def test_what_is_wrong_with_a_key_is_said_by_field(client, app, said, field, words):
    """422, the field, what is allowed there; and no key is made."""
    asking = {"name": "buy", "access": "Scoped", "scopes": ["orders:write"]}
    app.state.manager.routes.put(Route("shop", from_dict(document("shop", actions=[asking])), ()))
    body = {"name": "a key", "role": "caller", **said}
    answer = await client.post(KEYS, json=body, headers=ADMIN)
    problem = answer.json()
    assert (answer.status_code, problem["reason"]) == (422, "InvalidArguments")
    (told,) = [error["message"] for error in problem["errors"] if error["field"] == field]
    assert words in told
    assert (await client.get(KEYS, headers=ADMIN)).json()["items"] == []


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/json", 422),
        (b"[]", "application/json", 422),
        (b'{"name": NaN}', "application/json", 422),
        (b'{"name": "a", "name": "b"}', "application/json", 422),
        (b"\xff", "application/json", 422),
        (b"[" * 50_000, "application/json", 422),
        (b"x" * 100_000, "application/json", 413),
        (b"name: a", "application/yaml", 415),
        (b"{}", "", 415),
    ],
)
async def test_a_body_that_is_no_key_is_refused(client, content, kind, status):
    """No JSON, no object, twice the same member, too deep, too long, something else."""
    headers = {**ADMIN, "content-type": kind}
    assert (await client.post(KEYS, content=content, headers=headers)).status_code == status


@pytest.mark.parametrize(
    "query", ["limit=1000000000", "limit=0", "limit=a", "continue=../x", f"continue={'0' * 30}"]
)
async def test_a_page_has_bounds(client, query):
    """Limits of 10^9 and continuations nobody gave are 422."""
    assert (await client.get(f"{KEYS}?{query}", headers=ADMIN)).status_code == 422


async def test_pages_lead_through_all_keys(client):
    """Each is on one page; the last names no other."""
    made = [(await make(client, name=f"key {number}"))["name"] for number in range(5)]
    found, after = [], ""
    while True:
        page = (await client.get(KEYS, params={"limit": 2, "continue": after}, headers=ADMIN)).json()
        found += [key["name"] for key in page["items"]]
        after = page["metadata"]["continue"]
        if not after:
            break
    assert sorted(found) == sorted(made)


async def test_an_expired_key_is_401_and_says_so_in_the_list(client, app):
    """It was good until then."""
    made = await make(client, role="viewer", expiresAt=rfc3339(time.time() + 3600))
    assert (await client.get("/api/v1/plugins", headers=bearer(made["key"]))).status_code == 200
    app.state.gate._clock = lambda: time.time() + 3601
    assert (await client.get("/api/v1/plugins", headers=bearer(made["key"]))).status_code == 401


async def test_what_may_be_absent_may_be_null(client, app):
    """As it is told of a key without it; the document says so."""
    made = await make(client, plugins=None, actions=None, expiresAt=None)
    assert (made["plugins"], made["actions"], made["expiresAt"]) == (None, None, None)
    described = app.openapi()["components"]["schemas"]["NewKey"]["properties"]
    assert {name for name, field in described.items() if "null" in field.get("type", ())} == {
        "plugins",
        "actions",
        "expiresAt",
    }
