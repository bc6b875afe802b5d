"""What a batch asks for (pure): every key that must be looked up, merged over its entries."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bson.timestamp import Timestamp

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.key_candidates import keys_sharing_id
from tsync_stream.core.keys import typesense_id
from tsync_stream.core.model import BEGINNING_OF_TIME, DeadLetter, Entry, Key


@dataclass(slots=True)
class Wanted:
    """The Typesense ids of a batch with every source key that could map to each, merged over its entries."""

    keys_by_id: dict[str, list[Key]] = field(default_factory=dict)
    not_before: Timestamp = BEGINNING_OF_TIME
    rejected: list[DeadLetter] = field(default_factory=list)


def wanted(entries: Sequence[Entry], not_before: Timestamp) -> Wanted:
    """Merge a batch: a thousand updates of one document are one read and one write (pure)."""
    result = Wanted(not_before=not_before)
    last_time: Timestamp | None = None
    for entry in entries:
        if entry.cluster_time is not last_time:  # many share one, and comparing two is the slowest step here
            last_time = entry.cluster_time
            result.not_before = max(result.not_before, last_time)
        try:
            document_id = typesense_id(entry.key)
        except DocumentRejected as error:
            result.rejected.append(DeadLetter(entry.route, entry.key, error.reason, error.detail))
            continue
        if document_id not in result.keys_by_id:
            result.keys_by_id[document_id] = keys_sharing_id(entry.key, document_id)
    return result
