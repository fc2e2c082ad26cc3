"""A lock is read strictly: it comes from a plugin's author, and decides what uv is told."""

import hashlib

import pytest

from tests.support import manifest
from xcore.errors import InvalidBundle
from xcore.packing.lock import MAX_BYTES, Lock, Pin, make, read, require

PIN = Pin("good", "1.0", "good==1.0 ; python_full_version < '3.12'", ("sha256:" + "a" * 64,))
LOCK = Lock(("good>=1",), {"click": "8.5.1"}, (PIN,))


def with_body(change):
    """A lock whose first line fits a body that somebody wrote by hand."""
    body = change(str(LOCK).split("\n", 1)[1])
    return f"# xcore lock 1 sha256:{hashlib.sha256(body.encode()).hexdigest()}\n{body}".encode()


def refused(text):
    with pytest.raises(InvalidBundle) as caught:
        read(text)
    return str(caught.value)


def test_a_lock_is_read_as_it_was_written():
    assert read(str(LOCK).encode()) == LOCK


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "is not a lock"),
        (b"\xff\n", "is not a lock"),
        (b"good==1.0\n", "is not a lock"),
        (b"# hello\ngood==1.0\n", "is not a lock of this version"),
        (str(LOCK).replace("1.0", "1.1").encode(), "was edited"),
        (str(LOCK).encode() + b"#" * MAX_BYTES, "is larger than 2 MiB"),
        (with_body(lambda body: body + "other==1.0 \\\n"), "ends in the middle of a line"),
    ],
)
def test_what_is_no_lock_is_refused_with_what_to_do(text, sentence):
    said = refused(text)
    assert said.startswith(f"plugin.lock {sentence}")
    assert "xcore pack DIR" in said


@pytest.mark.parametrize(
    "line",
    [
        "good==1.0",
        "good>=1.0 \\\n    --hash=sha256:" + "a" * 64,
        "good==1.0 \\\n    --hash=md5:" + "a" * 32,
        "good @ file:///etc/passwd \\\n    --hash=sha256:" + "a" * 64,
        "--index-url https://example.com",
        "-r /etc/passwd",
        "-e . \\\n    --hash=sha256:" + "a" * 64,
        "good==1.0 \\\n    --hash=sha256:" + "a" * 64 + " \\\n    --config-settings=x",
        "./good.whl \\\n    --hash=sha256:" + "a" * 64,
    ],
)
def test_nothing_but_exact_versions_with_hashes_reaches_uv(line):
    assert "names no exact version with its hashes" in refused(with_body(lambda body: f"{body}{line}\n"))


def test_the_number_of_packages_is_bounded():
    many = "".join(str(Pin(f"p{n}", "1", f"p{n}==1", PIN.hashes)) + "\n" for n in range(257))
    assert "names more than 256 packages" in refused(with_body(lambda body: body + many))


@pytest.mark.parametrize(
    ("dependencies", "provided", "sentence"),
    [
        (["good>=1", "new"], {"click": "8.5.1"}, "was made before new was added to spec.dependencies"),
        (["good>=1", "good[x]"], {"click": "8.5.1"}, "was made before good[x] was added"),
        (["new"], {"click": "8.5.1"}, "was made for good>=1, which spec.dependencies no longer name"),
        (["good>=1"], {"click": "9.0"}, "was made for click 8.5.1; the sandbox has 9.0"),
        (["good>=1"], {}, "was made for click 8.5.1; the sandbox has none"),
    ],
)
def test_a_lock_of_other_dependencies_or_another_sandbox_says_what_differs(dependencies, provided, sentence):
    with pytest.raises(InvalidBundle) as caught:
        require(LOCK, manifest(dependencies=dependencies), provided)
    assert sentence in str(caught.value)


def test_a_lock_fits_whatever_the_order_and_whatever_else_the_sandbox_has():
    lock = Lock(("a", "b"), {}, (PIN,))
    require(lock, manifest(dependencies=["b", "a"]), {"click": "9.0"})


def test_locks_of_the_same_packages_ask_uv_for_the_same():
    other = make(manifest(dependencies=["good==1.*"]), str(PIN), {})
    assert other.requirements == LOCK.requirements
