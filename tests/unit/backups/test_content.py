"""Every collection of the state database is in a backup, or there is a reason why not; the same for a restore."""

from tsync_stream.backups.making import CONTENT
from tsync_stream.backups.restoring import REPLACED
from tsync_stream.state import database

COLLECTIONS = {
    value
    for name, value in vars(database).items()
    if name.isupper() and isinstance(value, str) and name != "EPOCH_DOCUMENT"
}
NOT_ARCHIVED = {
    database.PIPELINE: "positions and epochs describe an oplog and a queue that have moved on",
    database.FALLBACK_QUEUE: "its entries are of an epoch that a restore ends",
    database.LEASES: "says who works now",
    database.RECHECKS: "no write of before is in doubt any more, and the first start reconciles every route",
    database.REFRESHES: "the first start reconciles every route",
    database.VERIFICATIONS: "what was verified of a Typesense that has moved on",
    database.HISTORY: "the last fifteen minutes",
    database.BACKUPS: "a backup is no part of itself",
    database.JOB_KEYS: "up to 100 MB a job; a job that lacks them fails, and says so",
}
NOT_REPLACED = {
    database.LEASES: "fences only grow",
    database.HISTORY: "is of the last fifteen minutes, whatever is restored",
    database.JOB_KEYS: "an open job of the backup may still find its own; others are removed after a day",
}


def test_each_collection_is_archived_or_there_is_a_reason() -> None:
    assert len(COLLECTIONS) >= 13
    assert CONTENT.keys() | NOT_ARCHIVED.keys() == COLLECTIONS
    assert CONTENT.keys().isdisjoint(NOT_ARCHIVED)


def test_a_restore_replaces_each_collection_or_there_is_a_reason() -> None:
    assert set(REPLACED) | NOT_REPLACED.keys() == COLLECTIONS
    assert set(REPLACED).isdisjoint(NOT_REPLACED)
    assert CONTENT.keys() <= set(REPLACED), "what is inserted is not mixed with what was there"
    assert REPLACED[0] == database.PIPELINE, "a restore that is interrupted leaves a first start"
