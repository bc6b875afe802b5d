"""Dead letters in the API: search, one in full, replay and discard.

Invariants: a page is bounded, and so is what one request may name. Searching goes by indexes alone: an id that is typed
is turned into the records that its document can have. Replays are filed exactly as `tsync replay` files them.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from string import hexdigits
from typing import Any, cast

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.key_candidates import candidate_keys
from tsync_stream.observe.letter_view import SHOWN, letter_json
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.state.dead_letter_search import (
    FEWEST_DIGITS,
    MOST_FOUND,
    DeadLetterRecords,
    Record,
    Selection,
    Status,
)
from tsync_stream.state.dead_letters import record_id
from tsync_stream.state.jobs import REPLAY, JobStore, TooManyJobs
from tsync_stream.web.answering import Refused

PAGE = 50
MOST_IDS = 500
MOST_COUNTED = 10_000
STATUSES = ("open", "resolved", "all")


class Letters:
    """What the API does with dead letters of the routes of `table`."""

    def __init__(self, database: MongoDatabase, table: RouteTable, *, with_words: bool) -> None:
        self._records = DeadLetterRecords(database)
        self._jobs = JobStore(database)
        self._table = table
        self._with_words = with_words

    async def search(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of records that match `route`, `reason`, `status` and `text` (an id), behind the cursor `after`."""
        status = _status(query.get("status", "open"))
        selection = await self._selection(query)
        after = _cursor(query.get("after", ""))
        found = await self._records.newest(selection, status, PAGE + 1, after)
        total = await self._records.count(selection, status, MOST_COUNTED)
        counts = await self._records.count_by_reason(Selection(), status) if after is None else []
        page = found[:PAGE]
        return {
            "total": total,
            "more_than_total": total >= MOST_COUNTED,
            "letters": [letter_json(record, with_words=self._with_words) for record in page],
            "next": _after(page[-1]) if len(found) > PAGE else None,
            "counts": [{"route": each.route, "reason": each.reason, "count": each.count} for each in counts[:200]],
            "now": await self._records.now(),
        }

    async def one(self, letter: str) -> dict[str, Any]:
        """One record in full. Raises `Refused` if there is none with this id."""
        found = await self._records.newest(Selection(ids=[letter]), "all", 1)
        if not found:
            raise Refused(404, "There is no dead letter with this id any more")
        shown = SHOWN.get(found[0].shown) if found[0].status == "open" else None
        return {**letter_json(found[0], with_words=self._with_words), "typesense_shows": shown}

    async def replay(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """File a replay of the records `ids`, or with `all` of every open one of `route` and `reason`."""
        if "ids" in body:
            selection = Selection(ids=_ids(body))
        elif body.get("all") is True:
            selection = Selection(self._meant(_text(body, "route")), _text(body, "reason") or None)
        else:
            raise Refused(400, "Name the dead letters in `ids`, or say `all`")
        wanted = await self._records.replays(selection, self._table)
        filed: dict[str, str] = {}
        try:
            for route, arguments in wanted.items():
                filed[route] = await self._jobs.file(REPLAY, route, arguments)
        except TooManyJobs as error:
            if not filed:
                raise Refused(409, str(error)) from None
        return {"jobs": filed, "chosen": sum(wanted[route]["chosen"] for route in filed)}

    async def discard(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Close the records `ids` without a sync."""
        return {"discarded": await self._records.discard(_ids(body))}

    async def _selection(self, query: Mapping[str, str]) -> Selection:
        text = query.get("text", "").strip()
        ids = None
        if text:
            ids = [*self._records_of(text), *await self._beginning_with(text)]
        return Selection(self._meant(query.get("route", "")), query.get("reason") or None, ids=ids)

    def _meant(self, route: str) -> str | None:
        return (route if route in self._table else self._table.resolved(route)) or None

    def _records_of(self, text: str) -> Iterable[str]:
        with suppress(DocumentRejected):
            return [record_id(route, key) for route in self._table for key in candidate_keys(text)]
        return []

    async def _beginning_with(self, text: str) -> Iterable[str]:
        prefix = text.lower()
        if len(prefix) < FEWEST_DIGITS or not set(prefix) <= set(hexdigits):
            return []
        return [record.id for record in (await self._records.find(prefix))[:MOST_FOUND]]


def _status(text: str) -> Status:
    if text not in STATUSES:
        raise Refused(400, f"`status` is one of {', '.join(STATUSES)}")
    return cast("Status", text)


def _cursor(text: str) -> tuple[datetime, str] | None:
    if not text:
        return None
    time, _, record = text.partition("~")
    try:
        return datetime.fromisoformat(time), record
    except ValueError:
        raise Refused(400, "`after` is the `next` of another page") from None


def _after(record: Record) -> str:
    return f"{record.last_seen.isoformat()}~{record.id}"


def _ids(body: Mapping[str, Any]) -> list[str]:
    ids = body.get("ids")
    if not isinstance(ids, list) or not ids or not all(isinstance(each, str) for each in ids):
        raise Refused(400, "`ids` is a list of ids of dead letters")
    if len(ids) > MOST_IDS:
        raise Refused(400, f"At most {MOST_IDS} dead letters can be named at once")
    return ids


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise Refused(400, f"`{name}` is a text")
    return value
