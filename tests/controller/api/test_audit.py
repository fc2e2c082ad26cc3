"""Every order is in the audit, the refused ones too; what cannot be recorded is not done."""

import pytest

from integrations.admin.audited import Audited
from integrations.chain import verify
from integrations.grants import Role
from tests.controller.api.conftest import authorized
from tests.controller.api.test_roles import NOTHING, ROUTES, routes_of

ADMIN = authorized(Role.ADMIN)
AUDIT = "/api/v1/audit"


async def entries(client, **search):
    answer = await client.get(AUDIT, params={"limit": 500, **search}, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_every_route_that_changes_something_is_recorded(app):
    """One that was added without is found here."""
    changing = {
        key: route for key, route in routes_of(app).items() if key[0] not in {"GET", "HEAD", "OPTIONS"}
    }
    assert not [key for key, route in changing.items() if not isinstance(route.original_route, Audited)]


async def test_an_order_is_recorded_with_who_what_when_from_where_and_what_came_of_it(client):
    """In an entry of its own, with the request's id."""
    headers = {**authorized(Role.OPERATOR), "x-request-id": "req-1"}
    refused = await client.post("/api/v1/plugins/nobody/restart?wait=Ready", headers=headers)
    assert refused.status_code == 404
    made = await client.post("/api/v1/keys", json={"name": "a", "role": "caller"}, headers=ADMIN)
    newest, first = await entries(client)
    assert newest["at"] >= first["at"]
    told = {name: first[name] for name in first.keys() - {"at", "seconds", "hash", "previous"}}
    assert told == {
        "number": 1,
        "by": "operator",
        "role": "operator",
        "key": "",
        "address": "192.0.2.7",
        "method": "POST",
        "route": "/api/v1/plugins/{name}/restart",
        "path": "/api/v1/plugins/nobody/restart",
        "plugin": "nobody",
        "created": "",
        "status": 404,
        "result": "Refused",
        "reason": "PluginNotFound",
        "requestId": "req-1",
    }
    assert (newest["result"], newest["status"], newest["created"]) == ("Done", 201, made.headers["location"])
    assert made.json()["key"] not in str(newest)


async def test_each_kind_of_refusal_is_recorded(client):
    """Nobody known, too many wrong keys, not allowed, a body that is wrong, a condition that does not hold."""
    wrong = {"Authorization": "Bearer wrong"}
    await client.post("/api/v1/keys")
    for _ in range(11):
        await client.post("/api/v1/keys", headers=wrong)
    await client.post("/api/v1/keys", headers=authorized(Role.VIEWER))
    await client.post("/api/v1/keys", headers=ADMIN, json={"name": "a", "role": "root"})
    key = (await client.post("/api/v1/keys", headers=ADMIN, json={"name": "a", "role": "caller"})).json()
    await client.delete(f"/api/v1/keys/{key['id']}", headers={**ADMIN, "if-match": '"other"'})
    found = [(entry["by"], entry["status"], entry["reason"]) for entry in reversed(await entries(client))]
    assert found == [
        *[("", 401, "Unauthenticated")] * 11,
        ("", 429, "RateLimited"),
        ("viewer", 403, "Forbidden"),
        ("admin", 422, "InvalidArguments"),
        ("admin", 201, ""),
        ("admin", 412, "PreconditionFailed"),
    ]


async def test_reading_is_not_recorded(client):
    """An audit of reads would be a log of access."""
    for method, path in ROUTES:
        if method == "GET":
            await client.get(path.format_map(NOTHING), headers=ADMIN)
    assert await entries(client) == []


async def test_the_audit_can_be_verified_from_what_it_tells(client):
    """Page by page, as the command does."""
    for number in range(5):
        await client.post("/api/v1/keys", headers=ADMIN, json={"name": f"{number}", "role": "caller"})
    found, after = [], 0
    while True:
        page = (await client.get(AUDIT, params={"limit": 2, "continue": after}, headers=ADMIN)).json()
        found += page["items"]
        after = page["metadata"]["continue"]
        if not after:
            break
    head = page["metadata"]["head"]
    judged = verify(found, (head["number"], head["hash"]))
    assert (judged.problems, judged.entries) == ([], 5)


async def test_without_a_database_nothing_is_done_that_cannot_be_recorded(client, app, monkeypatch):
    """503 at once, also for what needs no database itself; reading goes on, and a stranger is told 401."""
    monkeypatch.setattr(app.state.database, "away", "the database does not answer")
    for method, path in ROUTES:
        if method != "GET":
            url = path.format_map(NOTHING)
            answer = await client.request(method, url, headers=ADMIN)
            assert (answer.status_code, answer.json()["reason"]) == (503, "DatabaseUnavailable"), url
            assert answer.headers["retry-after"]
            assert (await client.request(method, url)).status_code == 401
    assert (await client.get("/api/v1/plugins", headers=ADMIN)).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "limit=1000000000",
        "limit=0",
        "continue=-1",
        f"continue={10**30}",
        "since=yesterday",
        "since=2027-01-01T00:00:00",
        "result=Maybe",
        f"plugin={'x' * 300}",
    ],
)
async def test_a_search_that_cannot_be_is_422(client, query):
    """The field is named."""
    answer = await client.get(f"{AUDIT}?{query}", headers=ADMIN)
    assert (answer.status_code, answer.json()["reason"]) == (422, "InvalidArguments")
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]
