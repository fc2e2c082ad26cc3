"""Reads a zip by its directory, which must describe the file from its first byte to its last: no gap, no overlap, no lie.

A zip says everything twice, in its directory and before each member; here both must say the same. So the tricks that live
between the two (overlapping members, hidden ones, other names) have no room. Refused too: encryption, zip64 (nothing here
is that large), any compression but deflate, links and setuid bits.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from xcore.errors import InvalidBundle
from xcore.member import MAX_ENTRIES, PIECE, Bounds, Member, refused

_END = struct.Struct("<4s4H2LH")
_LISTED = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = 2**16 - 1
_LARGEST_DIRECTORY = 2 * 1024 * 1024
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_DESCRIBED_AFTER = 1 << 3
_ZIP64 = 2**32 - 1
_UNIX = {3, 19}


@dataclass(frozen=True, slots=True)
class _Listed:
    """A member as the directory tells it."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int  # as on Unix; 0 where it is not told
    offset: int


def members(file: BinaryIO, bounds: Bounds) -> Iterator[Member]:
    """Everything in the archive; raises InvalidBundle when it is not one, or not whole."""
    listed, directory = _directory(file, bounds)
    starts = [entry.offset for entry in listed] + [directory]
    if starts[0] != 0:
        raise InvalidBundle("something stands before the first member of the archive")
    for entry, following in pairwise(listed):
        if entry.offset == following.offset:
            raise refused(following.name, "overlaps another member")
    for entry, end in zip(listed, starts[1:], strict=True):
        bounds.content(entry.size)
        is_folder = entry.name.endswith(b"/")
        _check_kind(entry, is_folder=is_folder)
        start = _local(file, entry)
        yield Member(
            entry.name, is_folder, entry.size, bool(entry.mode & 0o111), _pieces(file, entry, bounds)
        )
        _descriptor(file, entry, start + entry.packed, end)


def _directory(file: BinaryIO, bounds: Bounds) -> tuple[list[_Listed], int]:
    """The members in the order of their place in the file, and where the directory begins."""
    size = file.seek(0, 2)
    tail = _at(file, max(0, size - _END.size - _LONGEST_COMMENT), _END.size + _LONGEST_COMMENT)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise InvalidBundle("the archive ends too early, or is no zip; send it again")
    _, disk, first_disk, here, count, length, offset, comment = _END.unpack_from(tail, found)
    if found + _END.size + comment != len(tail) or offset + length != size - len(tail) + found:
        raise InvalidBundle("the zip's end does not fit the file: something was added, cut off or hidden")
    if disk or first_disk or here != count:
        raise InvalidBundle("a zip in several parts cannot be read")
    if count > MAX_ENTRIES or length > _LARGEST_DIRECTORY:
        raise InvalidBundle(f"the archive holds more than {MAX_ENTRIES} entries")
    listed = list(_listing(_at(file, offset, length), count, bounds))
    return sorted(listed, key=lambda entry: entry.offset), offset


def _listing(text: bytes, count: int, bounds: Bounds) -> Iterator[_Listed]:
    at = 0
    for _ in range(count):
        bounds.entry()
        if len(text) - at < _LISTED.size:
            break
        made, *fields = _LISTED.unpack_from(text, at)[1:]
        (
            _,
            flags,
            method,
            _,
            _,
            crc,
            packed,
            size,
            name_length,
            extra,
            comment,
            disk,
            _,
            attributes,
            offset,
        ) = fields
        name = text[at + _LISTED.size : at + _LISTED.size + name_length]
        if text[at : at + 4] != b"PK\x01\x02" or disk:
            break
        if _ZIP64 in {packed, size, offset}:
            raise refused(name, "is told in zip64, which no file here needs")
        mode = attributes >> 16 if made >> 8 in _UNIX else 0
        yield _Listed(name, flags, method, crc, packed, size, mode, offset)
        at += _LISTED.size + name_length + extra + comment
    if at != len(text):
        raise InvalidBundle("the zip's directory is damaged")


def _check_kind(entry: _Listed, *, is_folder: bool) -> None:
    kind = stat.S_IFMT(entry.mode)
    if entry.flags & _ENCRYPTED:
        raise refused(entry.name, "is encrypted")
    if entry.method not in {_STORED, _DEFLATED}:
        raise refused(entry.name, "is compressed in a way other than deflate")
    if kind not in {0, stat.S_IFDIR if is_folder else stat.S_IFREG}:
        raise refused(entry.name, "is a link, a device or a pipe; only files and folders are allowed")
    if not is_folder and entry.mode & 0o7000:
        raise refused(entry.name, "has a setuid, setgid or sticky bit")
    if is_folder and entry.size:
        raise refused(entry.name, "is a folder that says it has content")


def _local(file: BinaryIO, entry: _Listed) -> int:
    """Leave the file at the member's data, whose place is returned, if its own header says what the directory does."""
    head = _at(file, entry.offset, _LOCAL.size)
    if len(head) < _LOCAL.size or not head.startswith(b"PK\x03\x04"):
        raise refused(entry.name, "is not where the zip's directory says")
    flags, method, _, _, *sums, name_length, extra = _LOCAL.unpack(head)[2:]
    same = (file.read(name_length), flags, method) == (entry.name, entry.flags, entry.method)
    told = sums == [entry.crc, entry.packed, entry.size] or entry.flags & _DESCRIBED_AFTER
    if not (same and told):
        raise refused(entry.name, "is told otherwise in the zip's directory")
    return file.seek(extra, 1)


def _pieces(file: BinaryIO, entry: _Listed, bounds: Bounds) -> Iterator[bytes]:
    unpacked, crc = 0, 0
    for piece in _inflated(file, entry, bounds) if entry.method else _stored(file, entry):
        unpacked, crc = unpacked + len(piece), zlib.crc32(piece, crc)
        if unpacked > entry.size:
            break
        yield piece
    if (unpacked, crc) != (entry.size, entry.crc):
        raise refused(entry.name, "does not have the size or sum it says; the archive is damaged or lies")


def _stored(file: BinaryIO, entry: _Listed) -> Iterator[bytes]:
    left = entry.packed
    while left and (piece := file.read(min(PIECE, left))):
        left -= len(piece)
        yield piece


def _inflated(file: BinaryIO, entry: _Listed, bounds: Bounds) -> Iterator[bytes]:
    unzip, left = zlib.decompressobj(wbits=-15), entry.packed
    while not unzip.eof:
        bounds.work()
        packed = unzip.unconsumed_tail or file.read(min(PIECE, left))
        left -= 0 if unzip.unconsumed_tail else len(packed)
        try:
            piece = unzip.decompress(packed, PIECE)
        except zlib.error:
            raise refused(entry.name, "cannot be decompressed; the archive is damaged") from None
        if not packed and not piece:
            break
        yield piece
    if left or unzip.unused_data or not unzip.eof:
        raise refused(entry.name, "is shorter or longer than it says; the archive is damaged or lies")


def _descriptor(file: BinaryIO, entry: _Listed, at: int, end: int) -> None:
    """Between a member and the next stands nothing, or, where it says so, its sums once more."""
    if at > end:
        raise refused(entry.name, "overlaps another member")
    between = _at(file, at, min(end - at, 25))
    allowed = [b""]
    if entry.flags & _DESCRIBED_AFTER:
        sums = (entry.crc, entry.packed, entry.size)
        allowed = [
            sign + struct.pack(form, *sums) for form in ("<3L", "<LQQ") for sign in (b"", b"PK\x07\x08")
        ]
    if between not in allowed:
        raise refused(entry.name, "is followed by something the zip's directory does not tell")


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
