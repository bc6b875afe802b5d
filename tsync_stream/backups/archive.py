"""The file of a backup: a zip with a manifest, and with the documents of each collection as mongodump writes them.

Invariants: it appears under its name only when it is complete and on disk; a crash leaves a hidden part, which counts
as nothing. Only its owner may read it. Memory is bounded: documents are written and read a portion at a time. Whoever
reads it has checked every byte before using any.
"""

import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tsync_stream.backups.manifest import BadBackup, Manifest, Member, decoded

MANIFEST = "manifest.json"
SUFFIX = ".zip"
PART_SUFFIX = ".part"
# A manifest holds some hundred routes at most.
_MANIFEST_BYTES = 16 << 20
_PORTION_BYTES = 1 << 20
_LENGTH_BYTES, _SMALLEST_DOCUMENT = 4, 5
# MongoDB's limit for a document, and what its wrappers add.
_LARGEST_DOCUMENT = (16 << 20) + (16 << 10)


def member_name(collection: str) -> str:
    """The file in the archive that holds a collection."""
    return f"{collection}.bson"


@dataclass(slots=True)
class _Open:
    """The collection that is being written."""

    collection: str
    stream: IO[bytes]
    documents: int = 0
    size: int = 0
    digest: Any = field(default_factory=sha256)


class ArchiveWriter:
    """Writes `path`; in a `with`, which removes what is not `finish`ed. Calls block, and may come from any thread.

    Raises OSError: no such folder, no space, no permission.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}{PART_SUFFIX}")
        self._lock = threading.Lock()  # a cancelled caller leaves a thread that may still be writing
        self._open: _Open | None = None
        self._done = False
        self.members: list[Member] = []

    def __enter__(self) -> Self:
        descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._done:
                return
            self._done = True
            self._part.unlink(missing_ok=True)
            if self._open is not None:
                with suppress(OSError):  # the disk may be full
                    self._open.stream.close()
            with suppress(OSError):
                self._zip.close()
            with suppress(OSError):
                self._file.close()

    def begin(self, collection: str) -> None:
        """What is written from now on belongs to this collection."""
        with self._lock:
            self._end_member()
            stream = self._zip.open(member_name(collection), "w", force_zip64=True)
            self._open = _Open(collection, stream)

    def write(self, documents: Sequence[bytes]) -> None:
        """Add documents to the collection that was begun last."""
        with self._lock:
            if self._done or self._open is None:
                return  # the caller has given up meanwhile
            portion = b"".join(documents)
            self._open.stream.write(portion)
            self._open.digest.update(portion)
            self._open.documents += len(documents)
            self._open.size += len(portion)

    def end(self) -> tuple[Member, ...]:
        """Everything is written; returns what that is."""
        with self._lock:
            self._end_member()
        return tuple(self.members)

    def finish(self, manifest: Manifest) -> int:
        """Put the complete file under its name; returns its size in bytes."""
        with self._lock:
            self._zip.writestr(MANIFEST, manifest.encoded())
            self._zip.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            size = self._file.tell()
            self._file.close()
            self._part.rename(self._path)
            self._done = True
            _sync_folder(self._path.parent)
        return size

    def _end_member(self) -> None:
        if self._open is None:
            return
        self._open.stream.close()
        found, self._open = self._open, None
        self.members.append(Member(found.collection, found.documents, found.size, found.digest.hexdigest()))


def _sync_folder(folder: Path) -> None:
    """Otherwise a power failure may undo the new name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# What a zip raises that is damaged at some byte: a wrong method, flag, name, length or checksum.
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, LookupError)


def read_manifest(path: Path) -> Manifest:
    """The manifest alone, without a look at the rest. Raises `BadBackup`, and OSError."""
    with _opened(path) as archive:
        return _manifest_of(archive)


def checked_manifest(path: Path) -> Manifest:
    """The manifest, after every byte that is ever used was compared with it. Raises `BadBackup`, and OSError."""
    with _opened(path) as archive:
        manifest = _manifest_of(archive)
        for member in manifest.members:
            digest, documents = sha256(), 0
            for document in _documents(archive, member):
                digest.update(document)
                documents += 1
            if (digest.hexdigest(), documents) != (member.sha256, member.documents):
                raise BadBackup(f"{member.collection} is not what the manifest says")
    return manifest


def read_documents(path: Path, manifest: Manifest, collection: str) -> Iterator[list[bytes]]:
    """The documents of a collection, a portion at a time. Raises `BadBackup`, and OSError."""
    with _opened(path) as archive:
        for member in manifest.members:
            if member.collection != collection:
                continue
            portion: list[bytes] = []
            size = 0
            for document in _documents(archive, member):
                portion.append(document)
                size += len(document)
                if size >= _PORTION_BYTES:
                    yield portion
                    portion, size = [], 0
            if portion:
                yield portion


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except BadBackup as error:
        raise BadBackup(f"{path} cannot be used: {error}") from error
    except _DAMAGED as error:
        raise BadBackup(f"{path} is not a backup, or is damaged ({type(error).__name__})") from error


def _manifest_of(archive: zipfile.ZipFile) -> Manifest:
    with archive.open(MANIFEST) as stream:
        return decoded(stream.read(_MANIFEST_BYTES))


def _documents(archive: zipfile.ZipFile, member: Member) -> Iterator[bytes]:
    """BSON documents as they are: each begins with its length."""
    with archive.open(member_name(member.collection)) as stream:
        while head := stream.read(_LENGTH_BYTES):
            length = int.from_bytes(head, "little")
            if not _SMALLEST_DOCUMENT <= length <= _LARGEST_DOCUMENT:
                raise BadBackup(f"{member.collection} is cut or overwritten")
            yield head + stream.read(length - _LENGTH_BYTES)
