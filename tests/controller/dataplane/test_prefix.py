"""An image is served below a prefix it knows nothing of: its own paths reach it, and it is told the prefix."""

import pytest

from tests.controller.dataplane.support import canned, ok, request
from tests.support import until

IMAGE = {"source": {"image": "app"}, "entrypoint": None}


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("/app/hello", "/"),
        ("/app/hello/", "/"),
        ("/app/hello?a=/b", "/?a=/b"),
        ("/app/hello/x/y%20z?q=1", "/x/y%20z?q=1"),
        ("/app/hello/app/hello", "/app/hello"),
        ("http://localhost/app/hello/x", "/x"),
    ],
)
async def test_an_image_is_asked_for_what_comes_after_its_prefix(front, asked, path):
    upstream = await front.upstream(**IMAGE)
    assert (await front.ask(request("GET", asked))).status == 200
    seen = upstream.journal[-1]
    assert seen.start == f"GET {path} HTTP/1.1"
    assert seen["x-forwarded-prefix"] == "/app/hello"


async def test_a_plugin_with_our_runner_is_asked_for_the_whole_path(front):
    upstream = await front.upstream()
    await front.ask(request("GET", "/app/hello/x"))
    seen = upstream.journal[-1]
    assert seen.start == "GET /app/hello/x HTTP/1.1"
    assert seen.all("x-forwarded-prefix") == []


async def test_a_client_cannot_tell_an_image_another_prefix(front):
    upstream = await front.upstream(**IMAGE)
    await front.ask(request("GET", "/app/hello/x", "X-Forwarded-Prefix: /evil", "X_Forwarded_Prefix: /evil"))
    assert upstream.journal[-1]["x-forwarded-prefix"] == "/app/hello"


async def test_what_is_said_of_an_action_holds_for_a_path_of_an_image(front):
    """The first part of the path is the action: its methods and limits are those of the manifest."""
    await front.upstream(**IMAGE, actions=[{"name": "x", "methods": ["GET"]}])
    assert (await front.ask(request("POST", "/app/hello/x", body=b""))).status == 405
    assert (await front.ask(request("POST", "/app/hello/y", body=b""))).status == 200


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ("/login?next=/", "/app/hello/login?next=/"),
        ("/", "/app/hello/"),
        ("http://localhost/a", "/app/hello/a"),
        ("/app/hello/a", "/app/hello/a"),
        ("/app/hello?a", "/app/hello?a"),
        ("/app/hellofriend", "/app/hello/app/hellofriend"),
        ("a/b", "a/b"),
        ("//other.example/a", "//other.example/a"),
        ("https://other.example/a", "https://other.example/a"),
    ],
)
async def test_where_an_image_sends_its_client_lies_below_its_prefix(front, sent, received):
    """Unless it knows the prefix, or means another place altogether."""
    answer = ok(status=b"302 Found", extra=b"location: %b\r\n" % sent.encode())
    await front.upstream(canned(answer), **IMAGE)
    assert (await front.ask(request("GET", "/app/hello/x")))["location"] == received


async def test_a_connection_to_an_image_is_kept_for_less_time_than_any_server_keeps_it(front):
    """A server that hangs up first could take a request with it; our runner is known to wait longer."""
    seconds, front.plane.clock = [front.plane.clock()], lambda: seconds[0]
    image, own = await front.upstream(name="image", **IMAGE), await front.upstream(name="own")
    for name in ("image", "own"):
        await front.ask(request("GET", f"/app/{name}/x"))
    seconds[0] += 4
    await until(lambda: image.open == 0, what="the image's connection to be closed")
    assert own.open == 1
