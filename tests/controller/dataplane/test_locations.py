"""Where an answer sends its client, when a plugin knows the host by another name than the client does."""

import pytest

from tests.controller.dataplane.support import canned, ok, request


@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        ("http://localhost/app/hello/x?a=1#b", "/app/hello/x?a=1#b"),
        ("https://LOCALHOST/app/hello/", "/app/hello/"),
        ("http://sandbox/app/hello/", "/app/hello/"),
        ("HTTP://Sandbox", "/"),
        ("http://sandbox?a=1", "/?a=1"),
        ("/app/hello/x", "/app/hello/x"),
        ("x/y", "x/y"),
        ("https://example.com/a", "https://example.com/a"),
        ("http://localhost:9/a", "http://localhost:9/a"),
        ("http://sandbox.example.com/", "http://sandbox.example.com/"),
        ("http://user@localhost/", "http://user@localhost/"),
        ("//localhost/a", "//localhost/a"),
    ],
)
@pytest.mark.parametrize("field", ["Location", "Content-Location"])
async def test_a_redirect_to_our_own_host_is_a_path(front, field, given, arrives):
    """A plugin cannot know our scheme and name outside; any other target is passed on as it is."""
    await front.upstream(canned(ok(extra=f"{field}: {given}\r\n".encode(), status=b"307 Temporary Redirect")))
    answer = await front.ask(request())
    assert (answer.status, answer[field.lower()]) == (307, arrives)


@pytest.mark.parametrize("rest", ["//evil.example", "/\\evil.example", "\\evil.example"])
async def test_a_path_that_would_name_another_host_is_not_made_of_one(front, rest):
    """`//host` means a host: what was a path of ours must not become one."""
    await front.upstream(canned(ok(extra=f"Location: http://localhost{rest}\r\n".encode())))
    assert (await front.ask(request()))["location"] == f"http://localhost{rest}"


@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        ("5; url=http://sandbox/app/hello/", "5; url=/app/hello/"),
        ("0;URL='http://localhost/app/hello/x'", "0;URL='/app/hello/x'"),
        ("5", "5"),
        ("5; url=https://example.com/", "5; url=https://example.com/"),
    ],
)
async def test_a_refresh_is_treated_like_a_redirect(front, given, arrives):
    await front.upstream(canned(ok(extra=f"Refresh: {given}\r\n".encode())))
    assert (await front.ask(request()))["refresh"] == arrives


async def test_a_redirect_is_never_followed_here(front):
    """The proxy asks nobody else: the client is told, and decides."""
    upstream = await front.upstream(
        canned(ok(extra=b"Location: http://169.254.169.254/\r\n", status=b"302 Found"))
    )
    answer = await front.ask(request())
    assert (answer.status, answer["location"]) == (302, "http://169.254.169.254/")
    assert len(upstream.journal) == 1
