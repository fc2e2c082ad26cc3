"""Whom a request is from when a proxy passed it on: never who says so himself."""

import pytest
from hypothesis import example, given, strategies as st

from controller.dataplane.proxies import MAX_HOPS, Proxies, Sender
from tests.controller.dataplane.support import Front, request

PROXIES = Proxies(["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"])
PEER = Sender("10.0.0.1")
WRONG = "Authorization: Bearer wrong"
HANDSHAKE = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def sender(*fields, peer=PEER, name=b"x-forwarded-for"):
    return PROXIES.sender(peer, [(b"host", b"localhost"), *[(name, field) for field in fields]])


# -- the reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.255.0.1", True),
        ("192.0.2.7", True),
        ("fd00::1", True),
        ("::ffff:10.0.0.1", True),
        ("192.0.2.8", False),
        ("11.0.0.1", False),
        ("::1", False),
        ("::ffff:11.0.0.1", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_a_peer_is_a_proxy_by_its_address(address, trusted):
    """However a socket writes it; what has no address is none."""
    assert PROXIES.include(Sender(address)) is trusted


def test_without_the_setting_nobody_is_a_proxy():
    assert not Proxies().include(Sender("127.0.0.1"))


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ([], "10.0.0.1"),
        ([b""], "10.0.0.1"),
        ([b" , ,"], "10.0.0.1"),
        ([b"198.51.100.1"], "198.51.100.1"),
        ([b"203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ([b"203.0.113.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ([b"203.0.113.9", b"198.51.100.1", b"192.0.2.7,10.0.0.2"], "198.51.100.1"),
        ([b"198.51.100.1,,\t, 10.0.0.2 ,"], "198.51.100.1"),
        ([b"10.0.0.4, 10.0.0.3, fd00::2"], "10.0.0.4"),
        ([b"198.51.100.1:5678"], "198.51.100.1"),
        ([b"203.0.113.9, 10.0.0.2:80"], "203.0.113.9"),
        ([b"[2001:db8::1]:80"], "2001:db8::1"),
        ([b"[2001:db8::1]"], "2001:db8::1"),
        ([b"2001:DB8:0::1"], "2001:db8::1"),
        ([b"::ffff:198.51.100.1"], "198.51.100.1"),
        ([b"203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
    ],
)
def test_the_last_that_is_no_proxy_counts(fields, address):
    """Several fields are one list; ports, blanks and empty entries change nothing; of proxies alone the first counts."""
    assert sender(*fields).address == address


@pytest.mark.parametrize(
    "entry",
    [
        b"unknown",
        b"_hidden",
        b"unix:",
        b"198.51.100",
        b"198.51.100.256",
        b"198.51.100.01",
        b"198.51.100.1:",
        b"198.51.100.1:123456",
        b"198.51.100.1 203.0.113.9",
        b"[2001:db8::1",
        b"[2001:db8::1]80",
        b"2001:db8::g",
        b"fe80::1%eth0",
        b'"198.51.100.1"',
        b"for=198.51.100.1",
        b"\xb2\xff\x00",
        b"1" * 10_000,
    ],
)
def test_where_something_is_no_address_the_last_that_is_known_counts(entry):
    """It is not guessed at, and nothing left of it is believed."""
    assert sender(b"203.0.113.9, " + entry).address == "10.0.0.1"
    assert sender(b"203.0.113.9, " + entry + b", 10.0.0.2").address == "10.0.0.2"


def test_a_list_is_looked_at_for_so_many_entries():
    """From its end; the first of those counts where all are proxies."""
    hops = [b"10.0.1.%d" % number for number in range(MAX_HOPS)]
    assert sender(b"198.51.100.1", b",".join(hops)).address == "10.0.1.0"
    assert sender(b"198.51.100.1", b",".join(hops[1:])).address == "198.51.100.1"
    assert sender(b"198.51.100.1" + b"," * 10_000).address == "10.0.0.1"


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        ([], "http"),
        ([b"https"], "https"),
        ([b"http"], "http"),
        ([b"http, https "], "https"),
        ([b"https", b"http"], "http"),
        ([b"https,"], "https"),
        ([b"HTTPS"], "http"),
        ([b"wss"], "http"),
        ([b"https, on"], "http"),
        ([b"https://x"], "http"),
        ([b"https\r\nx: y"], "http"),
    ],
)
def test_the_scheme_is_what_the_connected_proxy_says(fields, scheme):
    """The last of a list, and exactly http or https; anything else says nothing."""
    assert sender(*fields, name=b"x-forwarded-proto").scheme == scheme


def test_what_says_nothing_leaves_the_scheme_of_the_connection():
    peer = Sender("10.0.0.1", "https")
    assert sender(b"ftp", peer=peer, name=b"x-forwarded-proto").scheme == "https"


def test_a_plugin_is_told_one_address_and_one_scheme():
    """No list, so no reader of it has to know which of our proxies are trusted."""
    assert Sender("2001:db8::1", "https").lines == (
        b"x-forwarded-for: 2001:db8::1\r\nx-forwarded-proto: https\r\n"
    )
    assert Sender().lines == b"x-forwarded-for: unknown\r\nx-forwarded-proto: http\r\n"


ADDRESSES = st.ip_addresses().map(str)
ANY = st.lists(
    st.binary(max_size=60) | st.text(alphabet="0123456789abcdef.:[]%, x").map(str.encode), max_size=5
)
TRUSTED = st.lists(
    st.sampled_from([b"10.0.0.2", b"192.0.2.7:80", b"[fd00::2]:80", b" fd00::3", b"::ffff:10.1.2.3"]),
    max_size=10,
)
STRANGERS = st.sampled_from(
    [("198.51.100.1", b"198.51.100.1:99"), ("2001:db8::1", b"[2001:db8::1]"), (None, b"unknown")]
)


@given(ANY, STRANGERS, TRUSTED)
def test_nothing_left_of_a_stranger_counts(before, stranger, trusted):
    """Whatever he sends: what his own proxy wrote of him comes behind it."""
    address, written = stranger
    last_known = sender(*trusted[:1]).address if trusted else PEER.address
    assert sender(*before, written, *trusted).address == (address or last_known)


@given(ANY, st.lists(ADDRESSES, max_size=40))
@example([b"\x00,\xff"], [])
@example([], ["::"])
def test_whatever_the_list_holds_the_sender_is_the_peer_or_in_it(before, addresses):
    """Nothing raises, and no address is made up."""
    written = ",".join(addresses).encode()
    found = sender(*before, written).address
    listed = {entry.strip() for field in [*before, written] for entry in field.split(b",")}
    known = {sender(entry, peer=Sender("10.9.9.9")).address for entry in listed}
    assert found == PEER.address or found in known


# -- on the wire -------------------------------------------------------------------------------------------------


@pytest.fixture
async def behind():
    """A front behind a proxy on this machine, and others elsewhere."""
    async with Front(auth=True, proxies=["127.0.0.0/8", "10.0.0.0/8"]) as front:
        yield front


@pytest.fixture
async def beside():
    """A front whose only proxy is elsewhere: the test's own connections come from a stranger."""
    async with Front(auth=True, proxies=["10.0.0.0/8"]) as front:
        yield front


def told(message):
    return message["x-forwarded-for"], message["x-forwarded-proto"]


def wrong(address):
    return request("GET", "/app/hello/greet", WRONG, f"X-Forwarded-For: 203.0.113.9, {address}, 10.0.0.2")


async def test_wrong_keys_are_counted_for_the_client_and_not_for_its_proxy(behind):
    """On one connection of the proxy: who guesses is held up, the others behind it and the proxy itself are not."""
    await behind.upstream()
    client = await behind.client()
    statuses = [(await client.ask(wrong("198.51.100.1"))).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    assert (await client.ask(wrong("198.51.100.2"))).status == 401
    assert (await client.ask(request("GET", "/app/hello/greet", WRONG))).status == 401
    assert (await client.ask(wrong("198.51.100.1"))).status == 429


async def test_a_stranger_cannot_be_somebody_else_for_each_guess(beside):
    """From whoever is no proxy, the fields say nothing."""
    await beside.upstream()
    statuses = [(await beside.ask(wrong(f"198.51.100.{number}"))).status for number in range(11)]
    assert statuses == [401] * 10 + [429]


OPEN = {"actions": [{"name": "greet", "access": "Public"}]}
FORWARDED = ("X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: https")


async def test_a_plugin_is_told_the_clients_address_and_scheme_for_each_request(behind):
    """A proxy sends many clients' requests over one connection, and its own."""
    upstream = await behind.upstream(**OPEN)
    client = await behind.client()
    await client.ask(request("GET", "/app/hello/greet", *FORWARDED))
    await client.ask(request("GET", "/app/hello/greet", "X-Forwarded-For: 2001:db8::1"))
    await client.ask(request())
    assert [told(message) for message in upstream.journal] == [
        ("198.51.100.1", "https"),
        ("2001:db8::1", "http"),
        ("127.0.0.1", "http"),
    ]


async def test_a_plugin_is_told_nothing_of_what_a_stranger_says(beside):
    upstream = await beside.upstream(**OPEN)
    await beside.ask(
        request(
            "GET", "/app/hello/greet", *FORWARDED, "Forwarded: for=198.51.100.1", "X-Real-IP: 198.51.100.1"
        )
    )
    assert told(upstream.journal[0]) == ("127.0.0.1", "http")


async def test_a_websocket_is_from_the_client_too(behind):
    upstream = await behind.upstream(**OPEN)
    await behind.ask(request("GET", "/app/hello/greet", *HANDSHAKE, *FORWARDED))
    assert told(upstream.journal[0]) == ("198.51.100.1", "https")


async def test_the_control_plane_reads_it_the_same_way(behind):
    """Request by request, on one connection with the data plane's."""
    await behind.upstream(**OPEN)
    client = await behind.client()
    for fields in (FORWARDED, ("X-Forwarded-For: 198.51.100.2, 10.0.0.2:443",), ()):
        await client.ask(request("GET", "/api", *fields))
        await client.ask(request("GET", "/app/hello/greet", "X-Forwarded-For: 203.0.113.9"))
    assert [(scope["client"][0], scope["scheme"]) for scope in behind.asgi] == [
        ("198.51.100.1", "https"),
        ("198.51.100.2", "http"),
        ("127.0.0.1", "http"),
    ]


async def test_the_control_plane_believes_no_stranger(beside):
    """It sees the connection as it is, with its port."""
    client = await beside.client()
    await client.ask(request("GET", "/api", *FORWARDED))
    [scope] = beside.asgi
    assert (tuple(scope["client"]), scope["scheme"]) == (client.writer.get_extra_info("sockname"), "http")
