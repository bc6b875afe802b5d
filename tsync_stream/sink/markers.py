"""How we know a Typesense collection again: by what we left with it, which lives and dies with the data.

Its creation time is no identity: Typesense stamps it anew when it replays its log at a start, each node of a cluster
stamps its own, and two collections of one second share it. So there are two marks, both replicated as documents are:

- a *nonce* on the collection itself, gone when the collection is made anew: in its `metadata` where the release has
  that (26 and newer), otherwise as a synonym of two words that nobody searches for;
- a small document in a collection of ours with how far all was synced: in an older state of Typesense it is older.

What the API key may not do is left out, with a warning; `created_at` is then all there is.
Invariant: looking changes nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.errors import KEY_REFUSED, check_status
from tsync_stream.sink.http import Answer
from tsync_stream.sink.schema import fields_to_check

log = logging.getLogger(__name__)

MARKERS = "tsync_stream_markers"
METADATA = "tsync_stream"
SYNONYM = "tsync-stream-marker"
_SCHEMA = {"name": MARKERS, "fields": [{"name": "synced", "type": "int64"}]}
# What a release says to a mark that it does not know: 400 to metadata, 404 to a path that is no more.
_UNKNOWN = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})


@dataclass(frozen=True, slots=True)
class Seen:
    """A collection as it was found. `name` is its own, where we were given an alias.

    `nonce` is "" and `synced` None where there is no such mark; `marks_refused`: the API key may not see the second.
    `checks`: the fields whose values must be checked, since Typesense would find them wrongly without a word.
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
        """The collection as it is now; None if there is none."""
        live = await self._target.collection(self._collection)
        if live is None:
            return None
        try:
            name, created_at, checks = str(live["name"]), int(live["created_at"]), fields_to_check(live)
        except (LookupError, TypeError, ValueError) as error:
            raise DependencyUnavailable("Typesense: a collection is described by something else") from error
        nonce = _metadata(live).get(METADATA) or await self._synonym(name)
        answer = await self._target.ask("GET", _marker(name))
        refused = answer.status in KEY_REFUSED
        if answer.status != HTTPStatus.NOT_FOUND and not refused:
            check_status(answer.status, "a marker", body=answer.body)
        synced = _object(answer).get("synced")
        nonce = nonce if isinstance(nonce, str) else ""
        return Seen(name, created_at, nonce, _whole(synced), checks, refused)

    async def place(self, seen: Seen, nonce: str) -> str:
        """Put a nonce on the collection; returns it, or "" where that cannot be done."""
        live = await self._target.collection(seen.name) or {}
        metadata = {"metadata": {**_metadata(live), METADATA: nonce}}
        synonym = {"synonyms": [_word(nonce), f"{_word(nonce)}marker"]}
        tries: list[tuple[str, str, dict[str, Any]]] = [
            ("PATCH", _path(seen.name), metadata),
            ("PUT", f"{_path(seen.name)}/synonyms/{SYNONYM}", synonym),
        ]
        for method, path, body in tries:
            answer = await self._target.ask(method, path, body)
            if answer.status not in _UNKNOWN | KEY_REFUSED:
                check_status(answer.status, "a mark", body=answer.body)
                return nonce
        self._warn(
            "TYPESENSE_API_KEY: it may mark the collection neither by `metadata` nor by a synonym", "is made anew"
        )
        return ""

    async def note(self, name: str, synced: int) -> bool:
        """Say in Typesense how far all is synced; False where the API key may not."""
        document = {"id": name, "synced": synced}
        path = f"{_path(MARKERS)}/documents?action=upsert"
        answer = await self._target.ask("POST", path, document)
        if answer.status == HTTPStatus.NOT_FOUND:
            created = await self._target.ask("POST", "/collections", _SCHEMA)
            if created.status not in KEY_REFUSED | {HTTPStatus.CONFLICT}:
                check_status(created.status, "a collection of markers", body=created.body)
            answer = created if created.status in KEY_REFUSED else await self._target.ask("POST", path, document)
        if answer.status in KEY_REFUSED:
            self._warn(f"TYPESENSE_API_KEY: it may not use the collection {MARKERS}", "is an older state of itself")
            return False
        check_status(answer.status, "a marker", body=answer.body)
        return True

    def _warn(self, what: str, unseen: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("%s: a collection that %s may go unseen", what, unseen)

    async def _synonym(self, name: str) -> str:
        answer = await self._target.ask("GET", f"{_path(name)}/synonyms/{SYNONYM}")
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


def _path(collection: str) -> str:
    return f"/collections/{quote(collection, safe='')}"


def _marker(name: str) -> str:
    return f"{_path(MARKERS)}/documents/{quote(name, safe='')}"
