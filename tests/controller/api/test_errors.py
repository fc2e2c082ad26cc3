"""What every answer of the control plane has in common, and what a refusal says of what would be taken."""

import pytest

from integrations.grants import Role
from tests.controller.api.conftest import authorized

ADMIN = authorized(Role.ADMIN)


@pytest.mark.parametrize(
    "path", ["/healthz", "/api/v1/plugins", "/api/v1/plugins/", "/api/v1/plugins/no", "/no"]
)
async def test_an_answer_is_whole_with_its_last_byte(app, path):
    """Nothing of it follows, so a client that is quick is not taken for one that does not wait."""
    said = []

    async def send(message):
        said.append((message["type"], message.get("more_body", False)))

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    key = authorized(Role.ADMIN)["Authorization"].encode()
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"x"), (b"authorization", key)],
        "scheme": "http",
        "root_path": "",
    }
    await app(scope, receive, send)
    assert said == [("http.response.start", False), ("http.response.body", False)]


async def test_every_answer_has_an_id_and_is_not_sniffed(client):
    """The client's own id where it is a plain one, also on a refusal."""
    for path, status in (("/healthz", 200), ("/api/v1/plugins", 401), ("/no", 404)):
        answer = await client.get(path, headers={"X-Request-ID": "mine"})
        told = (answer.status_code, answer.headers["x-request-id"], answer.headers["x-content-type-options"])
        assert told == (status, "mine", "nosniff")
        assert (await client.get(path, headers={"X-Request-ID": "<x>"})).headers["x-request-id"] != "<x>"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/healthz", "GET"),
        ("OPTIONS", "/api/v1/plugins", "GET, POST"),
        ("POST", "/api/v1/plugins/hello", "DELETE, GET, PATCH, PUT"),
        ("TRACE", "/api/v1/plugins/hello/restart", "POST"),
        ("HEAD", "/api/v1/keys/1", "DELETE, GET"),
    ],
)
async def test_a_405_names_every_method_of_its_path(client, method, path, allow):
    """Also where routes share it."""
    answer = await client.request(method, path, headers=ADMIN)
    assert (answer.status_code, answer.headers.get("allow")) == (405, allow)


@pytest.mark.parametrize(
    "query",
    ["audit?since=0.5", "audit?until=1795967132", "events?since=0.5", "events?since=2026-01-01T00:00:00"],
)
async def test_a_number_or_a_time_without_a_zone_is_no_moment(client, query):
    """The document says RFC 3339."""
    answer = await client.get(f"/api/v1/{query}", headers=ADMIN)
    assert (answer.status_code, answer.headers["xcore-reason"]) == (422, "InvalidArguments")
    assert answer.json()["errors"][0]["message"].startswith("must be a time with its zone")
