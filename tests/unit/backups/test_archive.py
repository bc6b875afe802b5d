"""The file of a backup: whole or not there, for its owner alone, and refused if one byte of it is wrong."""

import os
import stat
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import bson
import orjson
import pytest

from tsync_stream.backups.archive import ArchiveWriter, checked_manifest, read_documents, read_manifest
from tsync_stream.backups.directory import rotate, stored_in
from tsync_stream.backups.manifest import VERSION, BackedUpRoute, BadBackup, Manifest, Member, decoded
from tsync_stream.sink.snapshots import Snapshot

MADE_AT = datetime(2026, 5, 10, 3, 0, 0, 123_000, tzinfo=UTC)
NAME = "tsync-0a1b2c3d-20260510T030000.123Z.zip"
DOCUMENTS = [bson.encode({"_id": number, "text": "x" * 400}) for number in range(5_000)]


def manifest(members: Sequence[Member]) -> Manifest:
    return Manifest(
        made_at=MADE_AT,
        made_by="0.1.0",
        deployment="0a1b2c3d",
        state_database="tsync",
        routes=(BackedUpRoute("listings", "db.listings", "listings"),),
        open_letters=3,
        snapshot=Snapshot("http://search:8108", "/backups/x"),
        members=tuple(members),
    )


def written(folder: Path, name: str = NAME, documents: Sequence[bytes] = DOCUMENTS) -> Path:
    with ArchiveWriter(folder / name) as writer:
        writer.begin("dead_letters")
        for first in range(0, len(documents), 1_000):
            writer.write(documents[first : first + 1_000])
        writer.begin("jobs")
        writer.finish(manifest(writer.end()))
    return folder / name


def test_what_was_written_is_read_in_portions(tmp_path: Path) -> None:
    path = written(tmp_path)

    found = checked_manifest(path)
    portions = list(read_documents(path, found, "dead_letters"))

    assert [document for portion in portions for document in portion] == DOCUMENTS
    assert len(portions) > 1
    assert list(read_documents(path, found, "jobs")) == []
    assert (found.documents("dead_letters"), found.documents("jobs")) == (5_000, 0)
    assert decoded(found.encoded()) == found == read_manifest(path)


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    assert stat.S_IMODE(written(tmp_path).stat().st_mode) == 0o600


def test_what_is_not_finished_is_not_there(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / NAME) as writer:
        writer.begin("dead_letters")
        writer.write(DOCUMENTS)
        assert [path.name for path in tmp_path.iterdir()] == [f".{NAME}.part"]

    assert list(tmp_path.iterdir()) == []
    writer.write(DOCUMENTS)  # a thread that had begun to write before: it finds everything closed


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    whole = written(tmp_path, documents=DOCUMENTS[:20]).read_bytes()
    path = tmp_path / "damaged.zip"
    unnoticed = []
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
        try:
            found = checked_manifest(path)
        except (BadBackup, OSError):
            continue
        # Some bytes of a zip mean nothing: times, attributes. What is read must be right all the same.
        if [each for part in read_documents(path, found, "dead_letters") for each in part] != DOCUMENTS[:20]:
            unnoticed.append(position)
    assert unnoticed == []


@pytest.mark.parametrize("size", [0, 10, 1_000, -1])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, size: int) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(BadBackup, match="not a backup, or is damaged"):
        checked_manifest(path)


def test_a_newer_version_of_the_format_is_refused() -> None:
    content = orjson.dumps(manifest([]).as_json() | {"version": VERSION + 1})

    with pytest.raises(BadBackup, match=f"version {VERSION + 1} of the format"):
        decoded(content)


def test_rotation_deletes_old_backups_and_what_a_crash_left(tmp_path: Path) -> None:
    for day in range(1, 5):
        written(tmp_path, f"tsync-0a1b2c3d-2026050{day}T030000.000Z.zip", [])
    other = written(tmp_path, "tsync-ffffffff-20260501T030000.000Z.zip", [])
    (tmp_path / "tsync-0a1b2c3d-20260509T030000.000Z.zip").write_bytes(b"damaged")
    (tmp_path / "notes.txt").touch()
    left, fresh = tmp_path / f".{NAME}.part", tmp_path / ".tsync-0a1b2c3d-20260510T040000.000Z.zip.part"
    left.touch()
    fresh.touch()
    day_before = time.time() - 90_000
    os.utime(left, (day_before, day_before))

    deleted = rotate(tmp_path, "0a1b2c3d", 2, None, MADE_AT)

    assert deleted == [f"tsync-0a1b2c3d-2026050{day}T030000.000Z.zip" for day in (1, 2)]
    assert not left.exists()
    assert fresh.exists()
    assert other.exists()
    assert [each.problem == "" for each in stored_in(tmp_path)] == [False, True, True, True]
