"""Archives: what may be in one, and that whatever comes, nothing outside its own folder changes."""

import gzip
import hashlib
import io
import json
import os
import random
import struct
import subprocess
import sys
import tarfile
import textwrap
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.xcore import archives
from tests.xcore.archives import GOOD, header, info, member, patched, raw_tar, tar_gz, zipped
from xcore import archive, member as members
from xcore.archive import unpack
from xcore.bundle import MAX_FILES, Snapshots
from xcore.errors import InvalidBundle, StorageFull
from xcore.member import MAX_ENTRIES

MIB = 1024 * 1024


def unpacked(tmp_path, content):
    return unpack(io.BytesIO(content), tmp_path / "unpacked")


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def state(folder):
    """A hash over everything in a folder: names, kinds, modes, times, contents."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        digest.update(
            f"{path} {status.st_mode} {status.st_mtime_ns} {status.st_ino} {status.st_size}\n".encode()
        )
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


# -- what is accepted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_tar_gz_of_any_common_kind_unpacks_to_its_files(tmp_path, form):
    long = "/".join(["a" * 60, "b" * 60, "c" * 60])
    content = {**GOOD, long: b"deep", "leer": b""}
    assert files(unpacked(tmp_path, tar_gz(content, form=form, folders=["data"]))) == content


def test_names_that_only_look_like_devices_are_fine(tmp_path):
    content = {"console.py": b"", "aux_.py": b"", "nullable/com.py": b"", ".hidden": b"", "lpt10": b""}
    assert files(unpacked(tmp_path, tar_gz(content))) == content


def test_names_that_are_not_ascii_keep_their_letters(tmp_path):
    content = {"größe/日本.txt": b"x", f"{'ü' * 60}.txt": b"y"}
    assert files(unpacked(tmp_path, tar_gz(content))) == content


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_zip_unpacks_to_its_files_however_it_was_written(tmp_path, method, stream):
    content = {**GOOD, "empty": b"", "größe.txt": b"x" * 100_000}
    assert files(unpacked(tmp_path, zipped(content, method=method, stream=stream))) == content


def test_a_zip_with_folders_and_a_comment_unpacks(tmp_path):
    out = io.BytesIO(zipped({}, extra=[(info("data/", 0o40755), b""), (info("data/a"), b"1")]))
    with zipfile.ZipFile(out, "a") as made:
        made.comment = b"of commit 1a2b3c"
    assert files(unpacked(tmp_path, out.getvalue())) == {"data/a": b"1"}


def test_what_the_systems_tar_writes_unpacks(tmp_path):
    """`tar -C demo -cz .` names everything from a dot on."""
    source = tmp_path / "demo"
    (source / "data").mkdir(parents=True)
    (source / "main.py").write_text("x")
    (source / "data" / "a").write_text("1")
    made = subprocess.run(["tar", "-C", source, "-cz", "."], stdout=subprocess.PIPE, check=True)
    assert files(unpacked(tmp_path, made.stdout)) == {"main.py": b"x", "data/a": b"1"}


def test_an_archive_and_a_folder_with_the_same_content_are_the_same_code(tmp_path):
    """Whatever it came in, code is named by what it holds, down to what is executable."""
    source = tmp_path / "demo"
    for name, content in {**GOOD, "plugin.yaml": b"kind: Plugin"}.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if name.startswith("bin/") else 0o644)
    snapshots = Snapshots(tmp_path / "snapshots")
    digest, _ = snapshots.take(source)
    for number, made in enumerate([tar_gz(), zipped(), zipped(stream=True)]):
        folder = unpack(io.BytesIO(made), tmp_path / str(number))
        assert snapshots.take(folder)[0] == digest


@pytest.mark.parametrize("make", [tar_gz, zipped])
def test_the_one_folder_that_holds_the_manifest_is_the_root(tmp_path, make):
    """An archive of `demo/` is as good as one of what is in it, and a package folder stays one."""
    content = {"demo/plugin.yaml": b"kind: Plugin", "demo/main.py": b"x"}
    assert set(files(unpacked(tmp_path, make(content)))) == {"plugin.yaml", "main.py"}
    package = unpack(io.BytesIO(make({"demo/__init__.py": b""})), tmp_path / "package")
    assert set(files(package)) == {"demo/__init__.py"}


def test_an_archive_inside_an_archive_is_a_file_like_any_other(tmp_path):
    assert set(files(unpacked(tmp_path, tar_gz({"inner.tar.gz": tar_gz()})))) == {"inner.tar.gz"}


# -- what is refused -----------------------------------------------------------------------------------------------


def many(count, make):
    return make({f"f{number}": b"" for number in range(count)})


def huge_zeros(size):
    return gzip.compress(header(b"zeros", size) + bytes(min(size, 70 * MIB)), 1)


def pax(*records, kind=b"x", name=b"x"):
    text = b"".join(records)
    return header(b"pax", len(text), kind), text, header(name), b""


def record(key, value):
    size = len(key) + len(value) + 3
    size += len(str(size + len(str(size))))
    return b"%d %s=%s\n" % (size, key, value)


def long_name(name, kind=b"L"):
    return header(b"././@LongLink", len(name), kind), name


def damaged(made, at):
    return made[:at] + bytes([made[at] ^ 0x55]) + made[at + 1 :]


def encrypted():
    made = zipped({"a": b"x" * 50})
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = made.find(signature) + offset
        made = made[:at] + b"\x01" + made[at + 1 :]
    return made


def lying_zip():
    made = zipped({"a": bytes(5000)})
    return made.replace(struct.pack("<L", 5000), struct.pack("<L", 50))


def hidden_between():
    """A member the directory does not tell, between two that it does."""
    first, second = zipped({"a": b"1"}), zipped({"b": b"2"})
    return first[: first.find(b"PK\x01\x02")] + second


def zip64():
    made = zipped({"a": b"1"})
    at = made.find(b"PK\x01\x02") + 20
    return made[:at] + b"\xff" * 8 + made[at + 8 :]


TAR = {
    "parent": (lambda: tar_gz({"../evil": b"x"}), "leads out of its folder"),
    "parent inside": (lambda: tar_gz({"a/../../evil": b"x"}), "leads out of its folder"),
    "absolute": (lambda: raw_tar(header(b"/etc/evil")), "is an absolute path"),
    "drive": (lambda: tar_gz({"C:evil": b"x"}), "a backslash or a colon"),
    "backslash": (lambda: tar_gz({"..\\evil": b"x"}), "a backslash or a colon"),
    "alternate stream": (lambda: tar_gz({"main.py:evil": b"x"}), "a backslash or a colon"),
    "NUL": (lambda: raw_tar(*pax(record(b"path", b"a\0b"))), "control characters"),
    "control": (lambda: tar_gz({"a\x1b[2Jb": b"x"}), r"a\\x1b\[2Jb has control characters"),
    "right to left": (lambda: tar_gz({"a\u202etxt.exe": b"x"}), "control characters"),
    "not UTF-8": (lambda: raw_tar(header(b"\xff\xfe")), r"\\xff\\xfe is not UTF-8"),
    "too long": (lambda: tar_gz({"a" * 300: b"x"}), "longer than 255 bytes"),
    "too deep": (lambda: tar_gz({"a/" * 17 + "x": b""}), "nested deeper than 16"),
    "empty step": (lambda: tar_gz({"a//b": b""}), "an empty step"),
    "dot as a step": (lambda: tar_gz({"a/./b": b""}), "an empty step or a dot"),
    "no name": (lambda: raw_tar(header(b"")), "is a file without a name"),
    "link": (lambda: tar_gz(extra=[member("l", tarfile.SYMTYPE, link="/etc")]), "l is a link"),
    "link, then through it": (
        lambda: tar_gz({}, extra=[member("l", tarfile.SYMTYPE, link="/tmp"), (member("l/evil"), b"x")]),
        "l is a link",
    ),
    "hard link": (lambda: tar_gz(extra=[member("h", tarfile.LNKTYPE, link="main.py")]), "h is a hard link"),
    "character device": (lambda: tar_gz(extra=[member("d", tarfile.CHRTYPE)]), "d is a device"),
    "block device": (lambda: tar_gz(extra=[member("d", tarfile.BLKTYPE)]), "d is a device"),
    "pipe": (lambda: tar_gz(extra=[member("p", tarfile.FIFOTYPE)]), "p is a pipe"),
    "sparse": (lambda: raw_tar(header(b"s", 0, b"S")), "s is a sparse file"),
    "sparse by PAX": (lambda: raw_tar(*pax(record(b"GNU.sparse.size", b"1" + b"0" * 10))), "GNU.sparse.size"),
    "unknown kind": (lambda: raw_tar(header(b"v", 0, b"V")), "v is of an unknown kind"),
    "setuid": (lambda: tar_gz(extra=[member("su", mode=0o4755)]), "su has a setuid"),
    "twice": (lambda: tar_gz(extra=[(member("main.py"), b"other")]), "main.py is there twice"),
    "case": (lambda: tar_gz(extra=[member("MAIN.py")]), "MAIN.py differs from main.py only in"),
    "case of a folder": (lambda: tar_gz(extra=[member("DATA/b")]), "differs from data only in"),
    "form of letters": (lambda: tar_gz({"e\u0301": b"", "\u00e9": b""}), "differs from e\u0301 only in"),
    "folded letters": (lambda: tar_gz({"straße": b"", "STRASSE": b""}), "differs from straße only in"),
    "file below a file": (lambda: tar_gz(extra=[member("main.py/x")]), "is both a file and a folder"),
    "file over a folder": (lambda: tar_gz(extra=[member("data")]), "is both a file and a folder"),
    "folder with content": (
        lambda: raw_tar(header(b"d", 3, b"5"), b"abc"),
        "a folder that says it has content",
    ),
    "file named as a folder": (lambda: raw_tar(header(b"d/", 0)), "the name of a folder"),
    "negative size": (lambda: raw_tar(header(b"n", number=b"\xff" * 12)), "n has a number in its header"),
    "negative offset": (lambda: raw_tar(header(b"n", number=b"-0000000512")), "n has a number in its header"),
    "size in base 256": (lambda: raw_tar(header(b"n", number=b"\x80" + bytes(10) + b"\x01")), "not octal"),
    "PAX size": (lambda: raw_tar(*pax(record(b"size", b"-1024"))), "has a PAX header size"),
    "PAX link": (lambda: raw_tar(*pax(record(b"linkpath", b"/etc"))), "has a PAX header linkpath"),
    "PAX character set": (lambda: raw_tar(*pax(record(b"hdrcharset", b"BINARY"))), "hdrcharset"),
    "PAX nonsense": (lambda: raw_tar(*pax(b"99999 a=b\n")), "a PAX header that cannot be read"),
    "PAX zero length": (lambda: raw_tar(*pax(b"0 a=b\n")), "a PAX header that cannot be read"),
    "PAX name for all": (lambda: raw_tar(*pax(record(b"path", b"e"), kind=b"g")), "a name for all members"),
    "two names": (lambda: raw_tar(*long_name(b"a"), *pax(record(b"path", b"b"))), "b is a second name"),
    "name of nobody": (lambda: raw_tar(*long_name(b"orphan")), "orphan is a name without a member"),
    "name bomb": (lambda: raw_tar(header(b"L", 32 * MIB, b"L"), bytes(32 * MIB)), "header of 33554432 bytes"),
    "long link": (lambda: raw_tar(*long_name(b"a", b"K")), "is a link"),
    "wrong sum": (lambda: raw_tar(header(b"a").replace(b"ustar", b"vstar")), "whose sum does not match"),
    "10 GB sparse by name": (lambda: huge_zeros(8 * 2**30 - 1), "unpacks to more than 67108864 bytes"),
    "zeros": (lambda: huge_zeros(60 * MIB), "more than 100 times its size"),
    "zeros after the end": (lambda: raw_tar(header(b"a"), end=bytes(80 * MIB)), "more than 67108864 bytes"),
    "too many": (lambda: many(MAX_FILES + 1, tar_gz), "more than 1000 files"),
    "too many folders": (
        lambda: tar_gz({}, folders=[f"d{n}" for n in range(MAX_FILES + 1)]),
        "1000 files or folders",
    ),
    "a million": (
        lambda: gzip.compress(header(b"./", 0, b"5") * 10**6, 1),
        f"more than {MAX_ENTRIES} entries",
    ),
    "cut off": (lambda: tar_gz()[:-20], "ends too early"),
    "cut off in the middle": (lambda: raw_tar(header(b"a", 2000), b"x", end=b""), "ends too early"),
    "no end": (lambda: raw_tar(header(b"a"), end=b""), "ends too early"),
    "half an end": (lambda: raw_tar(header(b"a"), end=bytes(512)), "ends too early"),
    "one block of zeros": (lambda: raw_tar(header(b"a"), bytes(512), header(b"b")), "one block of zeros"),
    "more behind the end": (
        lambda: raw_tar(header(b"a"), end=bytes(1024) + header(b"b")),
        "goes on after its end",
    ),
    "garbage behind": (lambda: tar_gz() + b"garbage", "something follows the archive"),
    "second gzip behind": (lambda: tar_gz() + tar_gz({"evil": b"x"}), "something follows the archive"),
    "damaged": (lambda: damaged(tar_gz(), 40), "damaged|ends too early"),
    "not gzip inside": (lambda: b"\x1f\x8b" + b"nonsense", "cannot be decompressed"),
    "not tar inside": (lambda: gzip.compress(b"x" * 2000), "not octal|sum does not match"),
    "empty": (lambda: tar_gz({}), "the archive is empty"),
}
ZIP = {
    "zip: parent": (lambda: zipped({"../evil": b"x"}), "leads out of its folder"),
    "zip: absolute": (lambda: zipped({"/etc/evil": b"x"}), "is an absolute path"),
    "zip: dot behind": (lambda: zipped({"a.": b"x"}), "ends with a dot or a blank"),
    "zip: blank behind": (lambda: zipped({"b /x": b"x"}), "ends with a dot or a blank"),
    "zip: device": (lambda: zipped({"data/con": b"x"}), "keep for a device"),
    "zip: device with an ending": (lambda: zipped({"Aux.py": b"x"}), "keep for a device"),
    "zip: device with a number": (lambda: zipped({"COM1/x": b"x"}), "keep for a device"),
    "zip: drive": (lambda: zipped({"C:/evil": b"x"}), "a backslash or a colon"),
    "zip: not UTF-8": (lambda: zipped({"abcd": b"x"}).replace(b"abcd", b"\xff\xfe\xfd\xfc"), "is not UTF-8"),
    "zip: NUL": (lambda: zipped({"abcd": b"x"}).replace(b"abcd", b"ab\0d"), "control characters"),
    "zip: link": (lambda: zipped(extra=[(info("l", 0o120777), b"/etc/passwd")]), "l is a link"),
    "zip: device node": (lambda: zipped(extra=[(info("d", 0o020666), b"")]), "d is a link, a device"),
    "zip: setuid": (lambda: zipped(extra=[(info("su", 0o104755), b"")]), "su has a setuid"),
    "zip: case": (lambda: zipped(extra=[(info("Main.PY"), b"")]), "differs from main.py only in"),
    "zip: twice": (
        lambda: zipped({"abcd": b"1", "abce": b"2"}).replace(b"abce", b"abcd"),
        "abcd is there twice",
    ),
    "zip: file and folder": (lambda: zipped(extra=[(info("data"), b"x")]), "both a file and a folder"),
    "zip: encrypted": (encrypted, "a is encrypted"),
    "zip: lzma": (lambda: zipped(method=zipfile.ZIP_LZMA), "other than deflate"),
    "zip: bzip2": (lambda: zipped(method=zipfile.ZIP_BZIP2), "other than deflate"),
    "zip: overlapping": (archives.overlapping, "overlaps another member"),
    "zip: lying size": (lying_zip, "does not have the size or sum it says"),
    "zip: wrong sum": (
        lambda: zipped({"a": b"1"}).replace(struct.pack("<L", zlib.crc32(b"1")), b"evil"),
        "does not have the size or sum",
    ),
    "zip: other name in its header": (
        lambda: patched(zipped({"abcd": b"x"}), b"abcd", b"evil"),
        "told otherwise",
    ),
    "zip: hidden member": (hidden_between, "does not fit the file"),
    "zip: prefix": (lambda: b"PK\x03\x04" + zipped(), "does not fit the file"),
    "zip: comment lies": (lambda: zipped() + b"x", "does not fit the file"),
    "zip: cut off": (lambda: zipped()[:-10], "ends too early"),
    "zip: cut in the middle": (lambda: zipped()[:60], "ends too early"),
    "zip: zeros": (lambda: zipped({"z": bytes(60 * MIB)}), "more than 100 times its size"),
    "zip: too large": (
        lambda: zipped({"a": os.urandom(MIB) * 33, "b": os.urandom(MIB) * 33}),
        "67108864 bytes",
    ),
    "zip: too many": (lambda: many(MAX_FILES + 1, zipped), "more than 1000 files"),
    "zip: 60,000 entries": (lambda: archives.overlapping(60_000), f"more than {MAX_ENTRIES} entries"),
    "zip: folder with content": (lambda: zipped({"d/": b"x"}), "says it has content|is a link"),
    "zip: damaged": (
        lambda: damaged(zipped({"a": random.Random(1).randbytes(500)}), 60),
        "damaged|otherwise",
    ),
    "zip: zip64": (zip64, "is told in zip64"),
    "zip: empty": (lambda: zipped({}), "the archive is empty"),
}
OTHER = {
    "nothing": (lambda: b"", "neither a tar.gz nor a zip"),
    "plain tar": (lambda: gzip.decompress(tar_gz()), "neither a tar.gz nor a zip"),
    "text": (lambda: b"kind: Plugin", "neither a tar.gz nor a zip"),
}


@pytest.mark.parametrize("name", [*TAR, *ZIP, *OTHER])
def test_an_archive_that_breaks_a_rule_is_refused_whole(tmp_path, name):
    """The sentence names the member; nothing is left, and nothing around it changed."""
    make, says = {**TAR, **ZIP, **OTHER}[name]
    (tmp_path / "neighbour").write_text("mine")
    content, before = make(), state(tmp_path)
    with pytest.raises(InvalidBundle, match=says) as refused:
        unpacked(tmp_path, content)
    assert state(tmp_path) == before
    assert len(str(refused.value)) < 400
    assert str(refused.value).isprintable()


def test_no_room_is_told_as_such_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "_write", full)
    with pytest.raises(StorageFull, match="no room"):
        unpacked(tmp_path, tar_gz())
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_is_nothing_but_work_is_given_up(tmp_path, monkeypatch):
    """Empty blocks by the million unpack to nothing; the time they take is bounded."""
    monkeypatch.setattr(members, "MAX_CPU_SECONDS", 0.001)
    empty = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\x00\x00\x00\xff\xff" * 4_000_000
    with pytest.raises(InvalidBundle, match="s of work"):
        unpacked(tmp_path, empty)
    assert list(tmp_path.iterdir()) == []


# -- whatever comes ------------------------------------------------------------------------------------------------

SEEDS = [
    tar_gz(),
    tar_gz(form=tarfile.GNU_FORMAT),
    zipped(),
    zipped(stream=True),
    raw_tar(header(b"a", 3), b"abc"),
]
RAW = [gzip.decompress(seed) if seed.startswith(b"\x1f\x8b") else seed for seed in SEEDS]


@st.composite
def broken(draw):
    """A good archive with some bytes exchanged, cut or put in; tars also below their compression."""
    text = bytearray(draw(st.sampled_from([*SEEDS, *RAW])))
    tar = len(text) % 512 == 0
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(text)))
        piece = draw(
            st.one_of(st.binary(max_size=12), st.sampled_from([b"../", b"/", b"\0", b"\xff" * 4, b"2"]))
        )
        text[at : at + draw(st.integers(0, 12))] = piece
    return gzip.compress(bytes(text), 1) if tar else bytes(text)


KINDS = [
    tarfile.REGTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
    b"x",
    b"L",
    b"S",
]


@st.composite
def odd_tar(draw):
    """A tar with right sums and any names, kinds, sizes."""
    names = st.one_of(
        st.sampled_from([b"a", b"A", b"a/b", b"../x", b"/tmp/x", b"a/../../x", b"./", b"."]),
        st.binary(max_size=40),
    )
    blocks = []
    for _ in range(draw(st.integers(1, 5))):
        content = draw(st.binary(max_size=30))
        lie = draw(st.sampled_from([0, 0, 0, 1, -1]))
        size = max(0, len(content) + lie)
        blocks += [header(draw(names), size, draw(st.sampled_from(KINDS))), content]
    return raw_tar(*blocks)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(content=st.one_of(broken(), odd_tar(), st.binary(max_size=300)))
def test_whatever_bytes_come_nothing_outside_changes_and_the_error_is_ours(tmp_path_factory, content):
    parent = tmp_path_factory.mktemp("parent")
    (parent / "neighbour").write_text("mine")
    before = state(parent)
    try:
        unpack(io.BytesIO(content), parent / "unpacked")
    except InvalidBundle:
        assert state(parent) == before
        return
    for path in (parent / "unpacked").rglob("*"):
        assert path.is_dir() != path.is_file()
        assert not path.is_symlink()
        assert path.lstat().st_nlink == 1 or path.is_dir()
    inside = parent / "unpacked"
    inside.rename(parent.parent / f"{parent.name}-aside")
    assert state(parent) == before


# -- what it costs -------------------------------------------------------------------------------------------------

COST = """
import json, resource, sys, time
from pathlib import Path
from xcore.archive import unpack
from xcore.bundle import Snapshots
from xcore.errors import InvalidBundle

path, into = Path(sys.argv[1]), Path(sys.argv[2])
before, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    with path.open("rb") as file:
        Snapshots(into / "snapshots").take(unpack(file, into / "unpacked"))
    told = "accepted"
except InvalidBundle as error:
    told = str(error)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([told, grown / 1024, time.process_time() - cpu]))
"""


def biggest():
    block = random.Random(1).randbytes(MIB)
    return tar_gz({"big": block * 63})


def widest():
    return tar_gz(
        {f"{'d' * 100}{n}/{'e' * 100}": random.Random(n).randbytes(60_000) for n in range(MAX_FILES - 1)}
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (biggest, "accepted"),
        (widest, "accepted"),
        (TAR["a million"][0], "2000 entries"),
        (TAR["zeros"][0], "100 times"),
        (TAR["name bomb"][0], "header of"),
        (ZIP["zip: 60,000 entries"][0], "2000 entries"),
        (ZIP["zip: overlapping"][0], "overlaps"),
    ],
    ids=["biggest", "widest", "a million", "zeros", "name bomb", "60,000 entries", "overlapping"],
)
def test_an_archive_costs_at_most_two_seconds_and_32_mib(tmp_path, make, says):
    """In a process of its own, from the file on disk to the snapshot; refused or not."""
    (tmp_path / "archive").write_bytes(make())
    command = [sys.executable, "-c", textwrap.dedent(COST), tmp_path / "archive", tmp_path]
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
    told, mebibytes, seconds = json.loads(ran.stdout)
    assert says in told
    assert mebibytes <= 32
    assert seconds <= 2
