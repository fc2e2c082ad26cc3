"""What no database can keep and no number can hold: refused as what it is, on each kind of database alike."""

import pytest

from integrations.grants import Role
from tests.controller.api.conftest import authorized


@pytest.mark.parametrize("last", ["0" * 20 + "9" * 5000, "9" * 5000, "1" + "0" * 19, "-1", "1.0", "x", "٣"])
async def test_an_id_of_an_event_that_is_none_is_refused(client, last):
    """However long it is."""
    headers = {**authorized(Role.VIEWER), "Last-Event-ID": last.encode()}
    answer = await client.get("/api/v1/events", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (400, "MalformedRequest")


@pytest.mark.parametrize(
    "path",
    [
        "events?plugin=%00",
        "events?plugin=a%00b",
        "tasks?continue=%00",
        "tasks?plugin=%00",
        "keys?continue=%00",
        "plugins?continue=%00",
        "audit?plugin=%00",
        "plugins/x/events?plugin=%00",
        "calls?continue=1~%00",
    ],
)
async def test_a_nul_in_a_query_is_refused_before_anything_is_asked(client, path):
    """No name has one, and PostgreSQL knows none: the database is not said to be away for it."""
    answer = await client.get(f"/api/v1/{path}", headers=authorized(Role.ADMIN))
    assert (answer.status_code, answer.json()["reason"]) == (400, "MalformedRequest")


@pytest.mark.parametrize("path", ["plugins/%00/events", "keys/%00", "calls/%00", "tasks/%00/runs"])
async def test_of_a_name_with_a_nul_there_is_nothing(client, path):
    answer = await client.get(f"/api/v1/{path}", headers=authorized(Role.ADMIN))
    assert answer.status_code in {400, 404}, answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("keys", {"name": "a\0b", "role": "viewer"}),
        ("keys", {"name": "a\ud800b", "role": "viewer"}),
        ("keys", {"name": "a", "role": "caller", "actions": ["a\0b"]}),
    ],
)
async def test_a_text_that_cannot_be_kept_is_a_wrong_field(client, path, body):
    """Named, and nothing is made."""
    headers = {**authorized(Role.ADMIN), "Content-Type": "application/json"}
    import json

    answer = await client.post(f"/api/v1/{path}", content=json.dumps(body), headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]
    assert (await client.get("/api/v1/keys", headers=authorized(Role.ADMIN))).json()["items"] == []


async def test_an_idempotency_key_with_odd_bytes_is_refused(client):
    """It is kept as it comes: so it is plain text."""
    headers = {**authorized(Role.ADMIN), "Idempotency-Key": b"a\xffb"}
    answer = await client.post("/api/v1/keys", json={"name": "a", "role": "viewer"}, headers=headers)
    assert answer.status_code == 422
