"""How we recognise a Typesense collection: by marks that we leave with it, which live and die with the data.

The creation time does not identify a collection: Typesense sets a new one when it replays its log at startup, each node
of a cluster sets its own, and two collections of the same second share it. So there are two marks, which are replicated
like documents:

- a *nonce* on the collection itself, gone when the collection is recreated: in its `metadata` if the release has that
  (26 and newer), otherwise as a synonym of two words that nobody searches for;
- a small document in a collection of ours, with the synced position: in an older state of Typesense it is older.

A mark that the API key may not set or read is left out, with a warning; `created_at` is then the only sign.
Invariant: looking changes nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.events import event
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.errors import KEY_REFUSED, check_status
from tsync_stream.sink.http import Answer
from tsync_stream.sink.schema import fields_to_check
from tsync_stream.sink.wire import collection_path, path_segment

log = logging.getLogger(__name__)

MARKERS = "tsync_stream_markers"
METADATA = "tsync_stream"
SYNONYM = "tsync-stream-marker"
_SCHEMA = {"name": MARKERS, "fields": [{"name": "synced", "type": "int64"}]}
# How a release answers a mark that it does not know: 400 to metadata, 404 to a path that was removed.
_UNKNOWN = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})


@dataclass(frozen=True, slots=True)
class Seen:
    """A collection as it was found. `name` is its own name, even if we asked for an alias.

    `nonce` is "" and `synced` None if there is no such mark; `marks_refused`: the API key may not read the second one.
    `checks`: the fields whose values must be checked, since Typesense would accept wrong ones and find them wrongly.
    """

    name: str
    created_at: int
    nonce: str
    synced: int | None
    checks: Sequence[str] = ()
    marks_refused: bool = False


class Markers:
    """The marks of one collection. Calls raise the errors of `errors.from_typesense`."""

    def __init__(self, target: TypesenseTarget, collection: str) -> None:
        self._target = target
        self._collection = collection
        self._warned = False

    async def look(self) -> Seen | None:
        """Look at the collection; None if there is none."""
        live = await self._target.collection(self._collection)
        if live is None:
            return None
        try:
            name, created_at, checks = str(live["name"]), int(live["created_at"]), fields_to_check(live)
        except (LookupError, TypeError, ValueError) as error:
            text = "Typesense: its answer about the collection has no name or creation time"
            raise DependencyUnavailable(text) from error
        nonce = _metadata(live).get(METADATA) or await self._synonym(name)
        answer = await self._marker(name)
        nonce = nonce if isinstance(nonce, str) else ""
        synced = _whole(_object(answer).get("synced"))
        return Seen(name, created_at, nonce, synced, checks, answer.status in KEY_REFUSED)

    async def is_behind(self, name: str, synced: int) -> bool:
        """Whether the mark of a collection of this name is older than this position, or is gone."""
        answer = await self._marker(name)
        noted = _whole(_object(answer).get("synced"))
        return answer.status not in KEY_REFUSED and (noted is None or noted < synced)

    async def _marker(self, name: str) -> Answer:
        answer = await self._target.ask("GET", _marker(name))
        if answer.status != HTTPStatus.NOT_FOUND and answer.status not in KEY_REFUSED:
            check_status(answer.status, "a marker", body=answer.body)
        return answer

    async def place(self, seen: Seen, nonce: str) -> str:
        """Put a nonce on the collection; returns it, or "" if that is not allowed."""
        live = await self._target.collection(seen.name) or {}
        metadata = {"metadata": {**_metadata(live), METADATA: nonce}}
        synonym = {"synonyms": [_word(nonce), f"{_word(nonce)}marker"]}
        tries: list[tuple[str, str, dict[str, Any]]] = [
            ("PATCH", collection_path(seen.name), metadata),
            ("PUT", f"{collection_path(seen.name)}/synonyms/{SYNONYM}", synonym),
        ]
        for method, path, body in tries:
            answer = await self._target.ask(method, path, body)
            if answer.status not in _UNKNOWN | KEY_REFUSED:
                check_status(answer.status, "a mark", body=answer.body)
                return nonce
        self._warn(
            "TYPESENSE_API_KEY: it may mark the collection neither by `metadata` nor by a synonym", "was recreated"
        )
        return ""

    async def note(self, name: str, synced: int) -> bool:
        """Note the synced position in Typesense; False if the API key may not."""
        document = {"id": name, "synced": synced}
        path = f"{collection_path(MARKERS)}/documents?action=upsert"
        answer = await self._target.ask("POST", path, document)
        if answer.status == HTTPStatus.NOT_FOUND:
            created = await self._target.ask("POST", "/collections", _SCHEMA)
            if created.status not in KEY_REFUSED | {HTTPStatus.CONFLICT}:
                check_status(created.status, "a collection of markers", body=created.body)
            answer = created if created.status in KEY_REFUSED else await self._target.ask("POST", path, document)
        if answer.status in KEY_REFUSED:
            what = f"TYPESENSE_API_KEY: it may not use the collection {MARKERS}"
            self._warn(what, "was restored from an older state")
            return False
        check_status(answer.status, "a marker", body=answer.body)
        return True

    def _warn(self, what: str, unseen: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("%s, so a collection that %s may go unnoticed", what, unseen, extra=event("typesense.blind"))

    async def _synonym(self, name: str) -> str:
        answer = await self._target.ask("GET", f"{collection_path(name)}/synonyms/{SYNONYM}")
        if answer.status not in _UNKNOWN | KEY_REFUSED:
            check_status(answer.status, "a mark", body=answer.body)
        synonyms = _object(answer).get("synonyms")
        first = synonyms[0] if isinstance(synonyms, list) and synonyms else ""
        return first.removeprefix(_word("")) if isinstance(first, str) else ""


def _word(nonce: str) -> str:
    return f"tsyncstream{nonce}"


def _metadata(live: Mapping[str, Any]) -> Mapping[str, Any]:
    found = live.get("metadata")
    return found if isinstance(found, dict) else {}


def _object(answer: Answer) -> Mapping[str, Any]:
    try:
        found = orjson.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _marker(name: str) -> str:
    return f"{collection_path(MARKERS)}/documents/{path_segment(name)}"
