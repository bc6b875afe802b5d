"""What one change stream reads: a collection, a database or the whole cluster, and which of its events are sent (pure).

Invariants: of a single collection everything is sent, as the server sends it. Of several collections the server sends
what concerns one of them, and nothing else: changes of its documents, and that it was dropped, renamed or replaced.
Whatever the size of a document, an event is a few hundred bytes, unless its `_id` is large. An event is flat, because
every object in it is one more to create for each change. The names of changed paths come only where they are wanted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.core.model import Token
from tsync_stream.source.changed_paths import CHANGED_PATHS

# Where a cursor of a database or cluster belongs to.
_NO_COLLECTION = "$cmd.aggregate"
# How a resume token begins: the type of a timestamp, and where that ends.
_TIMESTAMP_TYPE, _TIME_END = 0x82, 9
_KEYS_ONLY: dict[str, Any] = {"operation": "$operationType", "time": "$clusterTime", "key": "$documentKey._id"}
# Of several collections an event says which one it is about. Only a rename has a `to`.
_WHERE = {"namespace": {"$concat": ["$ns.db", ".", {"$ifNull": ["$ns.coll", ""]}]}, "to": "$to"}


@dataclass(frozen=True, slots=True)
class StreamScope:
    """The collections, as pairs of a database and a collection, that one change stream is about; at least one.

    `changed_paths`: the events of updates name the paths that they changed. `before`: an event has these fields of the
    document as it was before, where its collection keeps pre-images.
    """

    namespaces: Sequence[tuple[str, str]]
    changed_paths: bool = False
    before: Sequence[str] = ()

    def __str__(self) -> str:
        if self.is_single:
            return f"the collection {'.'.join(self.namespaces[0])}"
        return "the cluster" if self.is_cluster else f"the database {self.database}"

    @property
    def is_single(self) -> bool:
        """Whether it is about one collection; the server then ends the stream when that is dropped or renamed."""
        return len(self.namespaces) == 1

    @property
    def is_cluster(self) -> bool:
        """Whether collections of several databases are read, for which MongoDB has only the stream of the cluster."""
        return len({database for database, _ in self.namespaces}) > 1

    @property
    def database(self) -> str:
        """The database on which the stream is opened."""
        return "admin" if self.is_cluster else self.namespaces[0][0]

    @property
    def aggregate(self) -> str | int:
        """What the `aggregate` command names."""
        return self.namespaces[0][1] if self.is_single else 1

    @property
    def cursor_collection(self) -> str:
        """What `getMore` and `killCursors` name."""
        return self.namespaces[0][1] if self.is_single else _NO_COLLECTION

    def stages(self, start: Token | Timestamp | None) -> list[dict[str, Any]]:
        """The stages of a stream after a token, from a moment on (inclusive), or from now on (None)."""
        options: dict[str, Any] = {"allChangesForCluster": True} if self.is_cluster else {}
        if self.before:
            options["fullDocumentBeforeChange"] = "whenAvailable"
        if isinstance(start, Timestamp):
            options["startAtOperationTime"] = start
        elif start is not None:
            options["resumeAfter"] = start
        stages = [{"$changeStream": options}]
        project = {**_KEYS_ONLY, "changed": CHANGED_PATHS} if self.changed_paths else _KEYS_ONLY
        if self.before:
            project = {**project, "before": _before(self.before)}
        if self.is_single:
            return [*stages, {"$project": project}]
        return [*stages, {"$match": self._concerned()}, {"$project": {**project, **_WHERE}}]

    def _concerned(self) -> dict[str, Any]:
        """A query for the events that concern one of our collections."""
        databases = list(dict.fromkeys(database for database, _ in self.namespaces))
        conditions: list[dict[str, Any]] = []
        for database in databases:
            names = {"$in": [name for where, name in self.namespaces if where == database]}
            conditions += ({f"{end}.db": database, f"{end}.coll": names} for end in ("ns", "to"))
        conditions += [{"operationType": "dropDatabase", "ns.db": {"$in": databases}}, {"operationType": "invalidate"}]
        return {"$or": conditions}


def scope_of(
    namespaces: Iterable[tuple[str, str]], *, changed_paths: bool = False, before: Sequence[str] = ()
) -> StreamScope:
    """The scope of these collections."""
    return StreamScope(tuple(namespaces), changed_paths, before)


def _before(paths: Sequence[str]) -> dict[str, Any]:
    """These fields of the pre-image, each in its place; nothing at all if there is no pre-image."""
    image: dict[str, Any] = {}
    for path in paths:
        *outer, last = path.split(".")
        place = image
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = f"$fullDocumentBeforeChange.{path}"
    return {"$cond": [{"$gt": ["$fullDocumentBeforeChange", None]}, image, "$$REMOVE"]}


def time_of(token: Token) -> Timestamp | None:
    """The cluster time that a resume token begins with; None if it has another form than those of MongoDB 4.4 to 8.

    It is a key string in hexadecimal: the type of a timestamp, its seconds, its counter, then the rest.
    """
    try:
        data = bytes.fromhex(token["_data"])
    except (LookupError, TypeError, ValueError):
        return None
    if len(data) < _TIME_END or data[0] != _TIMESTAMP_TYPE:
        return None
    return Timestamp(int.from_bytes(data[1:5], "big"), int.from_bytes(data[5:_TIME_END], "big"))
