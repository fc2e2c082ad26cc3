"""Who is let in: keys that are good now, and no more wrong ones than an address may show."""

import hashlib

import pytest

from integrations.gate import (
    FAILURE_SECONDS,
    FAILURES,
    MAX_ADDRESSES,
    Gate,
    RateLimited,
    Unauthenticated,
    refusal,
)
from integrations.grants import Grant, Role


class Time:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


def grant(key, id_="k1", **limits):
    return Grant(id_, Role.CALLER, hashlib.sha256(key).digest(), **limits)


ADMIN = Grant("admin", Role.ADMIN, hashlib.sha256(b"the-admin-key").digest())


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
def gate(clock):
    return Gate(ADMIN, clock=clock)


@pytest.mark.parametrize(
    "key", [b"", b"wrong", b"x" * 10_240, b"the-admin-key\x00", "schlüssel".encode(), b"\xff"]
)
def test_what_is_no_key_is_nobodys(gate, key):
    """Nothing, another, far too long, with NUL, not ASCII: unknown, and no error."""
    assert gate.known(key) is None


def test_the_first_key_is_known_whatever_the_others_are(gate):
    """Keys come and go; the one from the settings stays."""
    gate.replace([grant(b"one")])
    gate.replace([])
    assert gate.known(b"the-admin-key") is ADMIN
    assert gate.known(b"one") is None


def test_a_key_is_good_until_it_expires(gate, clock):
    """To the second, also when nobody has looked at the keys since."""
    gate.replace([grant(b"one", expires=clock.now + 60)])
    assert gate.known(b"one") is not None
    clock.now += 60
    assert gate.known(b"one") is None


def test_whoever_listens_hears_which_keys_are_no_longer_good(gate, clock):
    """Once for each: revoked, or expired when the keys are looked at."""
    heard = []
    gate.listen(heard.append)
    kept = [grant(b"one", "k1"), grant(b"two", "k2", expires=clock.now + 5)]
    gate.replace([*kept, grant(b"three", "k3")])
    gate.replace(kept)
    clock.now += 5
    gate.replace(kept)
    gate.replace(kept)
    assert heard == [{"k3"}, {"k2"}]


def test_too_many_wrong_keys_are_429_until_time_has_passed(gate, clock):
    """Ten, then one each six seconds; who goes on does not wait longer for it, and another address does not wait at all."""
    assert [gate.failed("192.0.2.1") for _ in range(FAILURES)] == [0] * FAILURES
    assert [gate.failed("192.0.2.1") for _ in range(50)] == [6] * 50
    assert gate.failed("192.0.2.2") == 0
    clock.now += FAILURE_SECONDS
    assert [gate.failed("192.0.2.1"), gate.failed("192.0.2.1")] == [0, 6]
    clock.now += 3600
    assert [gate.failed("192.0.2.1") for _ in range(FAILURES + 1)] == [0] * FAILURES + [6]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "192.0.2.2", False),
    ],
)
def test_a_host_is_one_address_or_a_64_of_ipv6(gate, one, other, same):
    """A host that has 2^64 addresses does not have as many tries."""
    for _ in range(FAILURES):
        gate.failed(one)
    assert (gate.failed(other) > 0) is same


def test_addresses_without_end_fill_no_memory(gate):
    """The one that was not heard of for longest is forgotten."""
    for number in range(MAX_ADDRESSES + 500):
        gate.failed(f"198.51.{number // 256}.{number % 256}")
    assert len(gate._failures) == MAX_ADDRESSES


def test_no_key_at_all_is_no_wrong_one(gate):
    """It is 401 however often; only keys that were shown count."""
    found = [type(refusal(gate, "192.0.2.1", shown=False)) for _ in range(FAILURES + 5)]
    assert set(found) == {Unauthenticated}
    shown = [refusal(gate, "192.0.2.1", shown=True) for _ in range(FAILURES + 1)]
    assert isinstance(shown[-1], RateLimited)
    assert shown[-1].retry_after == 6
