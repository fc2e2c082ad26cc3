"""Reads a tar.gz front to back, holding one piece of it at a time.

Written for what tar, Python, Go and git write today: ustar, GNU long names, PAX paths. Refused, where `tarfile` would do its
best: links, devices, pipes, sparse files, sizes in base 256 (the only ones that can be negative), a PAX size, names told
twice, sums that do not match, an end that is missing, and anything after it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from xcore.bundle import MAX_BYTES
from xcore.errors import InvalidBundle
from xcore.member import PIECE, Bounds, Member, refused

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_OVERHEAD = 8 * 1024 * 1024  # headers, padding and the zeros at the end
_LONGEST_NOTE = 64 * 1024
_FILE, _FOLDER, _LONG_NAME, _PAX, _PAX_GLOBAL = b"0", b"5", b"L", b"x", b"g"
_KINDS = {
    b"1": "is a hard link",
    b"2": "is a link",
    b"3": "is a device",
    b"4": "is a device",
    b"6": "is a pipe",
    b"K": "is a link",
    b"S": "is a sparse file",
}


def members(file: BinaryIO, bounds: Bounds) -> Iterator[Member]:
    """Everything in the archive; raises InvalidBundle when it is not one, or not whole."""
    stream = _Gunzip(file, bounds)
    told: dict[bytes, bytes] = {}
    while (header := stream.exactly(_BLOCK)) != _ZEROS:
        bounds.entry()
        kind, name = header[156:157], _name(header)
        _check_sum(header, name)
        size = _octal(header[124:136], name)
        if kind in {_LONG_NAME, _PAX, _PAX_GLOBAL}:
            _note(kind, stream.note(size, name), told, name)
            continue
        yield _member(header, told.pop(b"path", name), size, bounds, stream)
        stream.skip(-size % _BLOCK)
        told.clear()
    stream.end(name=told.get(b"path"))


def _member(header: bytes, name: bytes, size: int, bounds: Bounds, stream: _Gunzip) -> Member:
    kind, mode = header[156:157], _octal(header[100:108], name)
    is_folder = kind == _FOLDER or (kind == b"\0" and name.endswith(b"/"))
    if not is_folder and kind not in {_FILE, b"\0"}:
        raise refused(
            name, f"{_KINDS.get(kind, 'is of an unknown kind')}; only files and folders are allowed"
        )
    if is_folder and size:
        raise refused(name, "is a folder that says it has content")
    if not is_folder and mode & 0o7000:
        raise refused(name, "has a setuid, setgid or sticky bit")
    bounds.content(size)
    return Member(name, is_folder, size, bool(mode & 0o111), stream.pieces(size))


def _name(header: bytes) -> bytes:
    name, prefix = _text(header[:100]), _text(header[345:500])
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _octal(field: bytes, name: bytes) -> int:
    digits = field.strip(b" \0")
    if any(digit not in b"01234567" for digit in digits):
        raise refused(name, "has a number in its header that is not octal")
    return int(digits or b"0", 8)


def _check_sum(header: bytes, name: bytes) -> None:
    if _octal(header[148:156], name) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
        raise refused(name, "has a header whose sum does not match; the archive is damaged")


def _note(kind: bytes, text: bytes, told: dict[bytes, bytes], name: bytes) -> None:
    """What stands in front of a member about it: at most one name of it, and nothing that changes its content."""
    long = kind == _LONG_NAME
    found = {b"path": text.removesuffix(b"\0")} if long else dict(_records(text, name))
    if kind == _PAX_GLOBAL and b"path" in found:
        raise refused(found[b"path"], "is given as a name for all members")
    if b"path" in told and b"path" in found:
        raise refused(found[b"path"], "is a second name for one member")
    if b"\0" in found.get(b"path", b""):
        raise refused(found[b"path"], "has control characters in its name")
    told.update({key: found[key] for key in found if key == b"path"})


def _records(text: bytes, name: bytes) -> Iterator[tuple[bytes, bytes]]:
    while text:
        length, _, rest = text.partition(b" ")
        end = int(length) if length.isdigit() and len(length) < 6 else 0
        record = text[len(length) + 1 : end]
        key, equals, value = record.partition(b"=")
        if not (rest and equals and record.endswith(b"\n") and len(length) + 1 + len(record) == end):
            raise refused(name, "has a PAX header that cannot be read")
        if key in {b"size", b"linkpath", b"hdrcharset"} or key.startswith(b"GNU.sparse"):
            raise refused(name, f"has a PAX header {key.decode()}, which no file here needs")
        yield key, value[:-1]
        text = text[end:]


class _Gunzip:
    """The bytes in one gzip member that fills the file to its last byte."""

    def __init__(self, file: BinaryIO, bounds: Bounds) -> None:
        self._file, self._bounds = file, bounds
        self._unzip = zlib.decompressobj(wbits=31)
        self._ready = b""
        self._total = 0

    def exactly(self, size: int) -> bytes:
        """So many bytes, at most a few pieces; raises InvalidBundle when there are fewer."""
        while len(self._ready) < size:
            piece = self._more()
            if not piece:
                raise InvalidBundle("the archive ends too early; send it again")
            self._ready += piece
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken

    def pieces(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self.exactly(min(size, PIECE))
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> None:
        self.exactly(size)

    def note(self, size: int, name: bytes) -> bytes:
        if size > _LONGEST_NOTE:
            raise refused(name, f"has a header of {size} bytes; at most {_LONGEST_NOTE} are allowed")
        text = self.exactly(size)
        self.skip(-size % _BLOCK)
        return text

    def end(self, name: bytes | None) -> None:
        """A second block of zeros, then zeros only, then nothing."""
        if name is not None:
            raise refused(name, "is a name without a member")
        if self.exactly(_BLOCK) != _ZEROS:
            raise InvalidBundle("the archive's end is damaged: one block of zeros where two belong")
        while piece := self._ready or self._more():
            if piece.count(0) != len(piece):
                raise InvalidBundle("the archive goes on after its end")
            self._ready = b""
        if not self._unzip.eof:
            raise InvalidBundle("the archive ends too early; send it again")
        if self._unzip.unused_data or self._file.read(1):
            raise InvalidBundle("something follows the archive in the file")

    def _more(self) -> bytes:
        """The next bytes; none when the file or the stream in it has ended."""
        piece = b""
        while not piece and not self._unzip.eof:
            self._bounds.work()
            packed = self._unzip.unconsumed_tail or self._file.read(PIECE)
            try:
                piece = self._unzip.decompress(packed, PIECE)
            except zlib.error:
                raise InvalidBundle("the archive is damaged: it cannot be decompressed") from None
            if not packed and not piece:
                break
        self._total += len(piece)
        if self._total > MAX_BYTES + _OVERHEAD:
            raise InvalidBundle(f"the archive unpacks to more than {MAX_BYTES} bytes")
        return piece
