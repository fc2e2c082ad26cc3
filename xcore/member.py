"""What archives hold, one member after the other, and the rules for their names and sizes.

The rules are ours and the same for tar and zip: an archive that breaks one is refused as a whole, naming the member. What a
name may be is judged on its bytes, once, and only the judged name is ever used.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from xcore.bundle import MAX_BYTES, MAX_DEPTH, MAX_FILES
from xcore.errors import InvalidBundle, Problem

MAX_RATIO = 100
MAX_ENTRIES = 2 * MAX_FILES  # files and folders, as they are listed
MAX_CPU_SECONDS = 2.0
PIECE = 64 * 1024
_RATIO_FROM = 1024 * 1024  # a small file of zeros is no bomb
_LONGEST_NAME = 255
_LONGEST_SHOWN = 60
# What Windows keeps for devices, with any ending.
_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\..*)?", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Member:
    """One file or folder. `pieces` is to be read to its end before the next member is asked for."""

    name: bytes
    is_folder: bool
    size: int
    executable: bool
    pieces: Iterator[bytes]


def refused(name: bytes, what: str) -> InvalidBundle:
    """The whole archive, because of this member; its name is cut, and can neither colour nor move a terminal."""
    said = shown(name)
    return InvalidBundle(f"{said} {what}", [Problem(said, what)])


def shown(name: bytes) -> str:
    text = name[: 4 * _LONGEST_SHOWN].decode(errors="backslashreplace")
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe if len(safe) <= _LONGEST_SHOWN else safe[:_LONGEST_SHOWN] + "…"


class Bounds:
    """Counts what an archive of `size` bytes unfolds to, and the time that takes; raises InvalidBundle beyond the bounds."""

    def __init__(self, size: int) -> None:
        self._most = max(_RATIO_FROM, size * MAX_RATIO)
        self._until = time.thread_time() + MAX_CPU_SECONDS
        self._bytes = self._entries = 0

    def entry(self) -> None:
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise InvalidBundle(f"the archive holds more than {MAX_ENTRIES} entries")

    def content(self, size: int) -> None:
        """Expect so many more bytes of files; called before they are read."""
        self._bytes += size
        if self._bytes > MAX_BYTES:
            raise InvalidBundle(f"the archive unpacks to more than {MAX_BYTES} bytes")
        if self._bytes > self._most:
            raise InvalidBundle(f"the archive unpacks to more than {MAX_RATIO} times its size")

    def work(self) -> None:
        if time.thread_time() > self._until:
            raise InvalidBundle(f"the archive takes more than {MAX_CPU_SECONDS:g} s of work to unpack")


class Names:
    """The names seen so far; gives each member its path, or raises InvalidBundle."""

    def __init__(self) -> None:
        self._seen: dict[
            str, tuple[str, bool]
        ] = {}  # as a forgiving file system reads it → (name, is it a file)
        self._files = self._folders = 0

    def path(self, member: Member) -> str:
        """The path below the root, "" for the root itself."""
        parts = _parts(member)
        for end in range(1, len(parts)):
            self._claim("/".join(parts[:end]), member.name, is_file=False)
        path = "/".join(parts)
        if path:
            self._claim(path, member.name, is_file=not member.is_folder)
        elif not member.is_folder:
            raise refused(member.name, "is a file without a name")
        return path

    def _claim(self, path: str, name: bytes, *, is_file: bool) -> None:
        key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
        known = self._seen.get(key)
        if known is None:
            self._seen[key] = (path, is_file)
            self._count(is_file=is_file)
        elif known[0] != path:
            raise refused(
                name, f"differs from {shown(known[0].encode())} only in the case or form of letters"
            )
        elif is_file or known[1]:
            raise refused(name, "is there twice" if is_file and known[1] else "is both a file and a folder")

    def _count(self, *, is_file: bool) -> None:
        self._files += is_file
        self._folders += not is_file
        if max(self._files, self._folders) > MAX_FILES:
            raise InvalidBundle(f"the archive holds more than {MAX_FILES} files or folders")


def _parts(member: Member) -> list[str]:
    name = member.name
    if len(name) > _LONGEST_NAME:
        raise refused(name, f"is longer than {_LONGEST_NAME} bytes")
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        raise refused(name, "is not UTF-8") from None
    if not text.isprintable():
        raise refused(name, "has control characters in its name")
    if "\\" in text or ":" in text:
        raise refused(name, "has a backslash or a colon in its name")
    if text.startswith("/"):
        raise refused(name, "is an absolute path; names are relative to the plugin's folder")
    if text.endswith("/") and not member.is_folder:
        raise refused(name, "is a file with the name of a folder")
    return _steps(name, text.removesuffix("/"))


def _steps(name: bytes, text: str) -> list[str]:
    """`./` in front is what `tar -C folder .` writes; anywhere else a step must be a name."""
    while text.startswith("./"):
        text = text[2:]
    if text in {"", "."}:
        return []
    parts = text.split("/")
    if ".." in parts:
        raise refused(name, "leads out of its folder by ..")
    if "" in parts or "." in parts:
        raise refused(name, "has an empty step or a dot as a step in its name")
    if len(parts) > MAX_DEPTH + 1:
        raise refused(name, f"is nested deeper than {MAX_DEPTH} folders")
    for part in parts:
        if part.endswith((".", " ")):
            raise refused(name, "has a name that ends with a dot or a blank, which some file systems drop")
        if _DEVICE.fullmatch(part):
            raise refused(name, "has a name that some systems keep for a device")
    return parts
