"""Request bodies that make plugins: a manifest as JSON or YAML, or a form with the parts `manifest` and `archive`.

Nothing is held in memory but a manifest: an archive goes piece by piece into a file without a name, which is gone whatever
happens to this process. Refused before it is read where that can be told, and while it is read otherwise: too large, not of
a known kind, parts nobody knows, a body that stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from integrations.gate import RateLimited
from xcore.errors import StorageFull, XcoreError
from xcore.parcel import Parcel
from xcore.yamlsafe import MAX_BYTES as MAX_MANIFEST

MAX_ARCHIVE = 64 * 1024 * 1024
MAX_UPLOADS = 4
SILENCE_SECONDS = 30.0
_FORM_OVERHEAD = 64 * 1024
_FLUSH = 256 * 1024
_JSON = {"application/json", "application/merge-patch+json"}
_YAML = {"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"}
_FORM = "multipart/form-data"


class MalformedRequest(XcoreError):
    reason = "MalformedRequest"
    component = "client"


class BodyTooLarge(XcoreError):
    reason = "BodyTooLarge"
    component = "client"


class UnsupportedMediaType(XcoreError):
    reason = "UnsupportedMediaType"
    component = "client"


@dataclass(frozen=True, slots=True)
class Upload:
    """What came, and a digest of it that is the same however a form is cut."""

    parcel: Parcel
    digest: str


class Uploads:
    """Receives bodies, a few at a time."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._places = MAX_UPLOADS

    @contextlib.asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[Upload]:
        """Give the body as a parcel, for as long as the block takes."""
        if self._places == 0:
            raise RateLimited(f"{MAX_UPLOADS} uploads are under way already; try again in a moment")
        self._places -= 1
        try:
            kind, options = parse_options_header(request.headers.get("content-type", ""))
            if kind.decode("latin-1") == _FORM:
                async with self._form(request, options.get(b"boundary", b"")) as upload:
                    yield upload
            else:
                yield _manifest_alone(await text(request), kind.decode("latin-1"))
        finally:
            self._places += 1

    @contextlib.asynccontextmanager
    async def _form(self, request: Request, boundary: bytes) -> AsyncIterator[Upload]:
        if not boundary:
            raise MalformedRequest("the form's Content-Type names no boundary")
        with await asyncio.to_thread(_unnamed, self._staging) as file:
            try:
                form = _Form(boundary, file)
                async for chunk in _chunks(request, MAX_ARCHIVE + MAX_MANIFEST + _FORM_OVERHEAD):
                    form.take(chunk)
                    if form.waiting >= _FLUSH:
                        await asyncio.to_thread(form.flush)
                await asyncio.to_thread(form.flush)
                yield form.upload()
            except FormParserError:
                raise MalformedRequest("the form cannot be read: it is not multipart/form-data") from None


async def text(request: Request) -> bytes:
    """The whole of a small body; raises BodyTooLarge."""
    return await bounded(request, MAX_MANIFEST)


async def bounded(request: Request, most: int) -> bytes:
    """The whole of a body of at most so many bytes; raises BodyTooLarge, MalformedRequest where it stops."""
    body = b""
    async for chunk in _chunks(request, most):
        body += chunk
    return body


def is_json(request: Request) -> bool:
    return parse_options_header(request.headers.get("content-type", ""))[0].decode("latin-1") in _JSON


def _manifest_alone(body: bytes, kind: str) -> Upload:
    if kind not in _JSON | _YAML:
        raise UnsupportedMediaType(
            f"send application/json, application/yaml, or {_FORM} with the parts manifest and archive"
        )
    return Upload(Parcel(body, is_json=kind in _JSON), hashlib.sha256(body).hexdigest())


async def _chunks(request: Request, most: int) -> AsyncIterator[bytes]:
    told = request.headers.get("content-length", "")
    size = int(told) if told.isdigit() else 0
    stream = request.stream()
    try:
        while size <= most:
            async with asyncio.timeout(SILENCE_SECONDS):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            size = size if told else size + len(chunk)
            yield chunk
    except TimeoutError:
        raise MalformedRequest(f"the body stopped: nothing came for {SILENCE_SECONDS:g} s") from None
    except ClientDisconnect:
        raise MalformedRequest("the client left before its body was complete") from None
    raise BodyTooLarge(f"the body is over {most} bytes")


def _unnamed(staging: Path) -> IO[bytes]:
    try:
        staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=staging)
    except OSError as error:
        raise StorageFull(f"the state directory cannot be written: {error.strerror}") from error


class _Form:
    """Takes a form apart: the manifest into memory, the archive towards its file."""

    def __init__(self, boundary: bytes, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._waiting: list[bytes] = []
        self.waiting = self._written = 0
        self._parts: dict[str, bytearray] = {}  # of an archive, nothing is kept here
        self._part = self._field = self._value = b""
        self._name = ""
        self._is_json = self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    def take(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def flush(self) -> None:
        """Write what waits. Blocks."""
        pieces, self._waiting, self.waiting = self._waiting, [], 0
        try:
            for piece in pieces:
                self._hash.update(piece)
                self._file.write(piece)
        except OSError as error:
            raise StorageFull("no room in the state directory for what is sent") from error

    def upload(self) -> Upload:
        if not self._ended:
            raise MalformedRequest("the form ends before its last boundary")
        manifest = self._parts.get("manifest")
        digest = hashlib.sha256(b"%d " % len(manifest or b"") + (manifest or b"") + self._hash.digest())
        archive = self._file if "archive" in self._parts else None
        text = None if manifest is None else bytes(manifest)
        return Upload(Parcel(text, is_json=self._is_json, archive=archive), digest.hexdigest())  # type: ignore[arg-type]

    def _begin(self) -> None:
        self._part = self._field = self._value = b""
        self._name = ""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        field, kind = self._field.lower(), parse_options_header(self._value)
        if field == b"content-disposition":
            self._name = kind[1].get(b"name", b"").decode("latin-1")
        elif field == b"content-type":
            self._part = kind[0]
        self._field = self._value = b""

    def _headers_finished(self) -> None:
        if self._name not in {"manifest", "archive"}:
            raise MalformedRequest(f"the form has a part {self._name[:60]!a}; there are manifest and archive")
        if self._name in self._parts:
            raise MalformedRequest(f"the form has the part {self._name} twice")
        self._parts[self._name] = bytearray()
        if self._name == "manifest":
            self._is_json = self._part.decode("latin-1") in _JSON

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "manifest":
            self._parts["manifest"] += data[start:end]
            if len(self._parts["manifest"]) > MAX_MANIFEST:
                raise BodyTooLarge(f"the part manifest is over {MAX_MANIFEST} bytes")
            return
        self._waiting.append(data[start:end])
        self.waiting += end - start
        self._written += end - start
        if self._written > MAX_ARCHIVE:
            raise BodyTooLarge(f"the part archive is over {MAX_ARCHIVE} bytes")

    def _end(self) -> None:
        self._ended = True
