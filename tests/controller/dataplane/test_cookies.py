"""Cookies of plugins that share a host: whose they are, and how far they reach."""

import pytest

from controller.dataplane import cookies
from tests.controller.dataplane.support import canned, ok, request

ROOT = "Path=/app/hello/"


async def set_by(front, *values):
    extra = b"".join(b"Set-Cookie: %b\r\n" % value.encode("latin-1") for value in values)
    await front.upstream(canned(ok(extra=extra)))
    return (await front.ask(request())).all("set-cookie")


@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        ("a=1", f"a=1; {ROOT}"),
        ("a=1; Path=/", f"a=1; {ROOT}"),
        ("a=1; path=/", f"a=1; {ROOT}"),
        ("a=1; PATH = /app/other/", f"a=1; {ROOT}"),
        ("a=1; Path=/app/helloevil/", f"a=1; {ROOT}"),
        ("a=1; Path=/APP/hello/x", f"a=1; {ROOT}"),
        ('a=1; Path="/app/hello/x"', f"a=1; {ROOT}"),
        ("a=1; Path=", f"a=1; {ROOT}"),
        ("a=1; Path", f"a=1; {ROOT}"),
        ("a=1; Path=x", f"a=1; {ROOT}"),
        ("a=1; Path=/app/hello", "a=1; Path=/app/hello"),
        ("a=1; Path=/app/hello/", f"a=1; {ROOT}"),
        ("a=1; Path=/app/hello/x/y", "a=1; Path=/app/hello/x/y"),
        ("a=1; Path=/app/hello/x; Path=/", f"a=1; {ROOT}"),
        ("a=1; Path=/; Path=/app/hello/x", "a=1; Path=/app/hello/x"),
        ("a=1; Domain=example.com; domain=.com", f"a=1; {ROOT}"),
        ("a=1;secure;HTTPONLY ; samesite=Lax", f"a=1; {ROOT}; Secure; HttpOnly; SameSite=Lax"),
        (
            "a=1; Max-Age=60; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Partitioned; Priority=High",
            f"a=1; {ROOT}; Max-Age=60; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Partitioned; Priority=High",
        ),
        ("a=1; Unheard-Of=x", f"a=1; {ROOT}"),
        ("a=1; SameSite=L\xe4x", f"a=1; {ROOT}"),
        ('a="b c, d=e"', f'a="b c, d=e"; {ROOT}'),
        ("a=", f"a=; {ROOT}"),
        ("a = 1 ", f"a=1; {ROOT}"),
        ("__Secure-a=1; Secure", f"__Secure-a=1; {ROOT}; Secure"),
    ],
)
async def test_a_cookie_reaches_no_further_than_its_plugin(front, given, arrives):
    """A plugin's cookie has a path of the plugin's and no domain, whatever it asked for."""
    assert await set_by(front, given) == [arrives]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "a",
        "=a",
        "; Path=/",
        "a b=1",
        "a\tb=1",
        "a=1\tb",
        "\xe4=1",
        "__Host-a=1; Secure; Path=/",
        "__host-a=1; Secure; Path=/",
        "xcore=1",
        "XCore-Session=1",
        "__Secure-xcore=1",
        "a=" + "b" * cookies.MAX_COOKIE,
    ],
)
async def test_a_cookie_that_is_doubtful_or_not_a_plugins_is_dropped(front, given, caplog):
    """What a browser might read otherwise, what is of the whole host, and what is ours never arrives; the log says why."""
    cookies._dropped.cache_clear()
    assert await set_by(front, given, "good=1") == [f"good=1; {ROOT}"]
    assert "hello: a cookie was dropped" in caplog.text


async def test_one_answer_sets_a_bounded_number_of_cookies(front):
    """A plugin cannot fill the browser's jar, which it shares with others, in one answer."""
    assert len(await set_by(front, *[f"a{i}=1" for i in range(60)])) == cookies.MAX_COOKIES


async def sent(front, *lines):
    upstream = await front.upstream()
    assert (await front.ask(request("GET", "/app/hello/greet", *lines))).status == 200
    return upstream.journal[0].all("cookie")


@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        (["Cookie: a=1"], ["a=1"]),
        (["Cookie: a=1; b=x=y;c="], ["a=1; b=x=y; c="]),
        (["Cookie: a=1", "Cookie: b=2"], ["a=1; b=2"]),
        (['Cookie: a="1, 2"'], ['a="1, 2"']),
        (["Cookie: xcore=1; a=1; XCORE-key=2; __Secure-xcore=3"], ["a=1"]),
        (["Cookie: __Host-session=1; a=1; __HOST-x=1"], ["a=1"]),
        (["Cookie: lonely; =nameless; a=1; a b=2"], ["a=1"]),
        (["Cookie: xcore=1"], []),
        (["Cookie: "], []),
    ],
)
async def test_a_plugin_is_sent_what_may_be_its_own_cookies(front, given, arrives):
    """Cookies of ours, of the whole host, and what is no cookie stop here."""
    assert await sent(front, *given) == arrives
