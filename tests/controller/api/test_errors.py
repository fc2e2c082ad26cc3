"""What every answer of the control plane has in common."""

import pytest

from integrations.grants import Role
from tests.controller.api.conftest import authorized


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
