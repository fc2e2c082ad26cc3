"""Archives for tests: good ones as tools write them, and vectors that no tool would write."""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib

GOOD = {"main.py": b"print('one')\n", "data/words.txt": b"one two", "bin/run": b"#!/bin/sh\n"}


def tar_gz(files=GOOD, *, form=tarfile.PAX_FORMAT, folders=(), extra=()):
    """A tar.gz as Python writes it; `extra` are TarInfos, or pairs of one and its content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(entry, io.BytesIO(content))
        for item in extra:
            entry, content = item if isinstance(item, tuple) else (item, b"")
            entry.size = entry.size or len(content)
            tar.addfile(entry, io.BytesIO(content.ljust(entry.size, b"x")))
    return gzip.compress(out.getvalue(), mtime=0)


def member(name, kind=tarfile.REGTYPE, *, link="", mode=0o644):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, link, mode
    return entry


def header(name, size=0, kind=b"0", *, mode=b"0000644", number=None, magic=b"ustar\x0000", prefix=b""):
    """One raw tar header with a right sum; `number` replaces the octal size."""
    digits = number if number is not None else b"%011o\0" % size
    text = bytearray(512)
    text[0:100] = name.ljust(100, b"\0")[:100]
    text[100:108] = mode.ljust(8, b"\0")
    text[108:124] = b"0000000\0" * 2
    text[124:136] = digits.ljust(12, b"\0")
    text[136:148] = b"00000000000\0"
    text[156:157] = kind
    text[257:265] = magic
    text[345:500] = prefix.ljust(155, b"\0")
    return summed(text)


def summed(text):
    text[148:156] = b" " * 8
    text[148:156] = b"%06o\0 " % sum(text)
    return bytes(text)


def raw_tar(*blocks, end=bytes(1024)):
    """A tar.gz of raw blocks: headers, and content that is padded here."""
    padded = b"".join(block + bytes(-len(block) % 512) for block in blocks)
    return gzip.compress(padded + end)


def zipped(files=GOOD, *, method=zipfile.ZIP_DEFLATED, stream=False, extra=()):
    """A zip as Python writes it; `extra` are pairs of ZipInfo and content."""
    out = io.BytesIO()
    with zipfile.ZipFile(Unseekable(out) if stream else out, "w", method) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100755 if name.startswith("bin/") else 0o100644) << 16
            info.compress_type = method
            archive.writestr(info, content)
        for info, content in extra:
            archive.writestr(info, content)
    return out.getvalue()


class Unseekable(io.RawIOBase):
    """A pipe to write into: a zip's sums then follow each member."""

    def __init__(self, out):
        self._out = out

    def writable(self):
        return True

    def write(self, data):
        return self._out.write(data)


def info(name, mode=0o100644, *, system=3):
    made = zipfile.ZipInfo(name)
    made.create_system, made.external_attr = system, mode << 16
    return made


def overlapping(copies=500):
    """Fifield's bomb: many names in the directory, one block of data for all of them."""
    content = zlib.compress(bytes(1024 * 1024), 9)[2:-4]
    crc = zlib.crc32(bytes(1024 * 1024))
    first = (
        struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, len(content), 1024 * 1024, 4, 0)
        + b"f000"
    )
    data, listing = first + content, b""
    for number in range(copies):
        name = b"f%03d" % number
        fields = (b"PK\x01\x02", 20, 20, 0, 8, 0, 0, crc, len(content), 1024 * 1024, 4, 0, 0, 0, 0, 0, 0)
        listing += struct.pack("<4s6H3L5H2L", *fields) + name
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, copies, copies, len(listing), len(data), 0)
    return data + listing + end


def patched(archive, before, after, *, last=False):
    """Bytes exchanged in a made archive."""
    at = archive.rfind(before) if last else archive.find(before)
    assert at >= 0
    assert len(before) == len(after)
    return archive[:at] + after + archive[at + len(before) :]
