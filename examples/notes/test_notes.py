import json

from websockets.sync.client import connect

from xcore.testing.served import ServedPlugin


def test_a_note_is_kept_and_listed(plugin: ServedPlugin) -> None:
    written = plugin.post("/notes", json={"text": "buy milk"})

    assert written.status_code == 201
    note = written.json()
    assert note["text"] == "buy milk"
    assert plugin.get(f"/notes/{note['id']}").json() == note
    assert note in plugin.get("/notes").json()


def test_readers_see_a_note_when_it_is_written(plugin: ServedPlugin) -> None:
    address = plugin.url.replace("http:", "ws:") + "/live"
    key = {"Authorization": plugin.http.headers["Authorization"]}
    with connect(address, additional_headers=key) as one, connect(address, additional_headers=key) as other:
        written = plugin.post("/notes", json={"text": "seen by all"}).json()

        assert [json.loads(reader.recv(10)) for reader in (one, other)] == [written, written]


def test_what_is_wrong_is_answered_as_fastapi_does(plugin: ServedPlugin) -> None:
    assert plugin.get("/notes/987654").json() == {"detail": "There is no note 987654."}
    assert plugin.post("/notes", json={"text": ""}).status_code == 422


def test_its_own_docs_find_its_own_description(plugin: ServedPlugin) -> None:
    """The page asks for the description below the plugin's own path, and that names this path as the server."""
    page = plugin.get("/docs")
    assert f"/app/{plugin.name}/openapi.json" in page.text

    described = plugin.get("/openapi.json").json()
    assert described["servers"] == [{"url": f"/app/{plugin.name}"}]
    assert "/notes/{number}" in described["paths"]
