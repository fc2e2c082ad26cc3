"""A call may be answered later: 202 at once, its state and answer below /api/v1/calls, over the controller's end if need be."""

import json

import httpx
import pytest

from tests.harness import Controller, until
from tests.support import write_plugin

WORK = '''
import asyncio, pathlib
from xcore.plugin import Plugin, Response, action

class Work(Plugin):
    seen = 0

    @action
    async def double(self, number: int = 1) -> int:
        """Double it."""
        return 2 * number

    @action
    async def slow(self, seconds: float = 60) -> str:
        """Take long."""
        await asyncio.sleep(seconds)
        return "slept"

    @action
    async def flaky(self) -> str:
        """Fail once."""
        Work.seen += 1
        if Work.seen == 1:
            raise ValueError("not yet")
        return f"attempt {Work.seen}"

    @action
    async def picture(self) -> Response:
        """Give bytes."""
        return Response(b"\\xff\\xd8picture", "image/jpeg")

    @action
    async def odd(self, text: str) -> Response:
        """Give what is JSON to Python, and not to all others."""
        return Response(text.encode(), "application/json")

    @action
    async def large(self) -> str:
        """Say much."""
        return "x" * (2 * 1024 * 1024)
'''
LATER = {"Prefer": "respond-async"}
ACTIONS = [{"name": "picture", "access": "Public"}, {"name": "double", "maxBodyBytes": 1000}]


@pytest.fixture(scope="module")
def controller(running):
    write_plugin(running.plugins / "work", WORK, entrypoint="main:Work", actions=ACTIONS)
    running.wait_ready("work")
    return running


def later(controller, action, arguments=None, **headers):
    return controller.request("POST", f"/app/work/{action}", json=arguments or {}, headers=LATER | headers)


def made(controller, answer):
    """The call once it has ended."""
    where = answer.headers["location"]
    return until(lambda: (c := controller.request("GET", where).json)["ended"] and c, 40, "the call's end")


def test_a_call_is_taken_in_at_once_and_answered_later(controller):
    """202 with the place to look, then the answer with its status and what it is."""
    answer = later(controller, "double", {"number": 21})
    assert answer.status == 202, answer.content
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.json["state"] == "Queued"
    call = made(controller, answer)
    assert (call["state"], call["attempts"]) == ("Succeeded", 1)
    assert call["result"] == {
        "status": 200,
        "mediaType": "application/json",
        "encoding": "json",
        "body": 42,
        "cut": False,
    }


def test_a_slow_call_holds_up_nobody(controller):
    answer = later(controller, "slow", {"seconds": 2})
    waiting = controller.request("GET", answer.headers["location"])
    assert (waiting.json["result"], waiting.headers["retry-after"]) == (None, "1")
    assert made(controller, answer)["result"]["body"] == "slept"


def test_other_preferences_are_the_plugins_own(controller):
    """What is not respond-async is answered at once; so is reading, which nobody has to wait for."""
    told = controller.request(
        "POST", "/app/work/double", json={}, headers={"Prefer": "return=minimal, wait=5"}
    )
    assert (told.status, told.json) == (200, 2)
    assert controller.request("GET", "/app/work", headers=LATER).status == 200


def test_an_answer_that_is_no_text_comes_in_base64(controller):
    call = made(controller, later(controller, "picture"))
    assert (call["result"]["encoding"], call["result"]["body"]) == ("base64", "/9hwaWN0dXJl")


@pytest.mark.parametrize("text", [r'"\ud800"', "NaN", "[1e999]"])
def test_json_that_cannot_be_passed_on_as_such_comes_as_text(controller, text):
    """Half of a surrogate pair, no number, a number without end."""
    result = made(controller, later(controller, "odd", {"text": text}))["result"]
    assert (result["encoding"], result["body"]) == ("text", text)


def test_of_a_large_answer_the_beginning_is_kept(controller):
    call = made(controller, later(controller, "large"))
    assert (call["state"], call["result"]["cut"], len(call["result"]["body"])) == (
        "Succeeded",
        True,
        1024 * 1024,
    )


def test_what_fails_is_tried_again(controller):
    """After a pause, with the same Idempotency-Key; meanwhile it says why it waits, and until when."""
    answer = later(controller, "flaky")
    where = answer.headers["location"]
    waiting = until(lambda: (c := controller.request("GET", where).json)["nextAttempt"] and c)
    assert (waiting["state"], waiting["reason"], waiting["attempts"]) == ("Queued", "ActionFailed", 1)
    call = made(controller, answer)
    assert (call["state"], call["attempts"], call["result"]["body"]) == ("Succeeded", 2, "attempt 2")


def test_what_the_plugin_refuses_is_not_tried_again(controller):
    call = made(controller, later(controller, "double", {"number": "many"}))
    assert (call["state"], call["attempts"], call["result"]["status"]) == ("Failed", 1, 422)
    assert made(controller, later(controller, "nothing"))["state"] == "Failed"


def test_a_call_that_comes_twice_is_one_call(controller):
    """With the same Idempotency-Key; another call with it is refused."""
    first = later(controller, "double", {"number": 4}, **{"Idempotency-Key": "four"})
    again = later(controller, "double", {"number": 4}, **{"Idempotency-Key": "four"})
    assert first.headers["location"] == again.headers["location"]
    other = later(controller, "double", {"number": 5}, **{"Idempotency-Key": "four"})
    assert (other.status, other.reason) == (422, "InvalidArguments")


@pytest.mark.parametrize(
    ("path", "options", "status", "reason"),
    [
        ("/app/none/double", {"json": {}}, 404, "PluginNotFound"),
        ("/app/work", {"json": {}}, 400, "MalformedRequest"),
        ("/app/work/double", {"content": b"x" * 2000}, 413, "BodyTooLarge"),
        ("/app/work/slow", {"content": b"x" * 300_000}, 413, "BodyTooLarge"),
        (
            "/app/work/double",
            {"json": {}, "headers": LATER | {"Idempotency-Key": "x" * 300}},
            422,
            "InvalidArguments",
        ),
        ("/app/work/../double", {"json": {}}, 400, "MalformedRequest"),
        ("/app/work/a%00b", {"json": {}}, 400, "MalformedRequest"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(controller, path, options, status, reason):
    """As it would be without the preference."""
    answer = controller.request("POST", path, **{"headers": LATER, **options})
    assert (answer.status, answer.reason) == (status, reason)


def test_without_a_key_nothing_is_taken_in(controller):
    """401; and a public action is answered at once, for nobody could ask for its answer later."""
    with httpx.Client(base_url=controller.url, headers=LATER) as stranger:
        assert stranger.post("/app/work/double", json={}).status_code == 401
        assert stranger.post("/app/work/picture", json={}).status_code == 200
        wrong = {"Authorization": "Bearer wrong"}
        assert stranger.post("/app/work/picture", json={}, headers=wrong).status_code == 401
        assert stranger.get("/api/v1/calls").status_code == 401


def test_calls_are_listed_newest_first(controller):
    for number in range(3):
        made(controller, later(controller, "double", {"number": number}))
    first = controller.request("GET", "/api/v1/calls?limit=2").json
    rest = controller.request("GET", f"/api/v1/calls?limit=100&continue={first['metadata']['continue']}").json
    items = [*first["items"], *rest["items"]]
    assert [each["created"] for each in items] == sorted((each["created"] for each in items), reverse=True)
    assert len({each["id"] for each in items}) == len(items)
    made(controller, later(controller, "nothing"))
    failed = controller.request("GET", "/api/v1/calls?state=Failed").json["items"]
    assert {each["state"] for each in failed} == {"Failed"}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1000000000", "state=Gone", "continue=" + "1" * 65, "continue=yesterday"]
)
def test_a_page_out_of_bounds_is_refused(controller, query):
    assert controller.request("GET", f"/api/v1/calls?{query}").status == 422


def test_a_call_that_is_not_there_is_told(controller):
    answer = controller.request("GET", "/api/v1/calls/" + "0" * 32)
    assert (answer.status, answer.reason) == (404, "CallNotFound")
    call = made(controller, later(controller, "double"))
    refused = controller.request("POST", f"/api/v1/calls/{call['id']}/retry")
    assert (refused.status, refused.reason) == (409, "Conflict")


@pytest.fixture
def own(open_dir):
    """A controller that a test may end."""
    (open_dir / "plugins").mkdir()
    write_plugin(open_dir / "plugins" / "work", WORK, entrypoint="main:Work")
    made = Controller(open_dir / "plugins", open_dir / "state", {"XCORE_RUNTIME": "process"})
    made.start()
    made.wait_ready("work")
    yield made
    if made.process.poll() is None:
        made.kill()


def test_what_was_accepted_survives_the_controller(own):
    """SIGKILL right after 202s, and in the middle of attempts: each call is made, and told as one."""
    slow = later(own, "slow", {"seconds": 15})
    until(lambda: own.request("GET", slow.headers["location"]).json["state"] == "Running")
    quick = [later(own, "double", {"number": number}) for number in range(20)]
    assert {answer.status for answer in quick} == {202}
    own.kill()
    own.start()
    own.wait_ready("work")
    assert [made(own, answer)["result"]["body"] for answer in quick] == [2 * number for number in range(20)]
    call = made(own, slow)
    assert (call["state"], call["attempts"], json.dumps(call["result"]["body"])) == (
        "Succeeded",
        2,
        '"slept"',
    )


def test_the_end_of_the_controller_interrupts_an_attempt(own):
    """SIGTERM: it has its grace, then it is cut short, and made again by the next start."""
    slow = later(own, "slow", {"seconds": 30})
    until(lambda: own.request("GET", slow.headers["location"]).json["state"] == "Running")
    assert own.stop() == 0
    own.start()
    call = until(lambda: (c := own.request("GET", slow.headers["location"]).json)["attempts"] == 2 and c)
    assert (call["state"], call["reason"]) == ("Running", "Interrupted")


def holding(controller, **key):
    """A client with a key of its own."""
    made = controller.request("POST", "/api/v1/keys", json=key)
    assert made.status == 201, made.content
    return httpx.Client(base_url=controller.url, headers={"Authorization": f"Bearer {made.json['key']}"})


def test_a_call_is_seen_by_whoever_made_it(controller):
    """And by an admin; to another key it is not there, and a key that is not for the plugin makes none."""
    with (
        holding(controller, name="ada", role="caller") as ada,
        holding(controller, name="eve", role="caller") as eve,
        holding(controller, name="bob", role="caller", plugins=["other"]) as bob,
    ):
        answer = ada.post("/app/work/double", json={"number": 2}, headers=LATER)
        where = answer.headers["location"]
        assert made(controller, answer)["result"]["body"] == 4
        assert ada.get(where).json()["result"]["body"] == 4
        assert [each["id"] for each in ada.get("/api/v1/calls").json()["items"]] == [answer.json()["id"]]
        assert eve.get(where).status_code == 404
        assert eve.get("/api/v1/calls").json()["items"] == []
        assert eve.post(f"{where}/retry").status_code == 404
        assert bob.post("/app/work/double", json={}, headers=LATER).status_code == 403


def test_a_call_of_a_revoked_key_is_not_made(controller):
    """What waits when its key is revoked says so, and the plugin never hears of it."""
    made_key = controller.request("POST", "/api/v1/keys", json={"name": "short", "role": "caller"}).json
    with httpx.Client(
        base_url=controller.url, headers={"Authorization": f"Bearer {made_key['key']}"}
    ) as client:
        for _ in range(4):  # as many as are made at once
            client.post("/app/work/slow", json={"seconds": 4}, headers=LATER)
        answer = client.post("/app/work/double", json={}, headers=LATER)
        assert answer.status_code == 202
    assert controller.request("DELETE", f"/api/v1/keys/{made_key['id']}").status == 200
    where = answer.headers["location"]
    call = until(lambda: (c := controller.request("GET", where).json)["reason"] and c, 30)
    assert (call["reason"], call["result"]) == ("Unauthenticated", None)
