"""The JSON API under `/api/v1/`: what the dashboard shows and does, for scripts too. docs/dashboard.md describes it.

Invariants: reading changes nothing. Every action asks for the token (`access.py`), is bounded (`answering.py`), and
leaves one line in the log, without ids. What it does is what a command of `tsync` would do, by the same parts.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web

from tsync_stream.core.events import event
from tsync_stream.observe.explanation_reader import ExplanationReader
from tsync_stream.routes.declared import declared_routes
from tsync_stream.routes.generations import EffectiveTable, effective
from tsync_stream.settings.secrets import Secret
from tsync_stream.source.driver import TIMEOUT_MS, MongoDatabase, command_client
from tsync_stream.state.database import state_database
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.jobs import JobStore
from tsync_stream.state.pipeline import PositionStore
from tsync_stream.web.access import Refusal, may_act, may_read
from tsync_stream.web.answering import Answer, Gate, Handler, Refused, body_of
from tsync_stream.web.letters import Letters
from tsync_stream.web.look import SharedLook
from tsync_stream.web.overview import Here, history_json, overview_json

log = logging.getLogger(__name__)

PREFIX = "/api/v1"
EXPLAIN_DEADLINE_S = 30.0
LONGEST_ID = 2_000
# Parts of the overview that have an address of their own.
PARTS = ("routes", "tiers", "replicas", "jobs", "queue")


class Api:
    """The handlers of one replica. `here` returns what it knows itself, `bind` the address that it listens on."""

    def __init__(self, token: Secret, here: Callable[[], Here], bind: Callable[[], str]) -> None:
        self._token = token
        self._here = here
        self._bind = bind
        self._gate = Gate()
        self._look = SharedLook(lambda: here().settings)

    def __repr__(self) -> str:
        return f"<Api {self._look}>"

    def routes(self) -> list[web.RouteDef]:
        """What aiohttp serves."""
        return [
            web.get(f"{PREFIX}/overview", self._read(self._overview)),
            *(web.get(f"{PREFIX}/{part}", self._read(self._part(part))) for part in PARTS),
            web.get(f"{PREFIX}/history", self._read(self._history)),
            web.get(f"{PREFIX}/dead-letters", self._read(self._search)),
            web.get(f"{PREFIX}/dead-letters/{{id}}", self._read(self._letter)),
            web.get(f"{PREFIX}/explain", self._read(self._explain, EXPLAIN_DEADLINE_S)),
            web.post(f"{PREFIX}/dead-letters/replay", self._act(self._replay)),
            web.post(f"{PREFIX}/dead-letters/discard", self._act(self._discard)),
            web.post(f"{PREFIX}/jobs/{{id}}/cancel", self._act(self._cancel)),
            web.post(f"{PREFIX}/jobs/{{id}}/pause", self._act(partial(self._steer, paused=True))),
            web.post(f"{PREFIX}/jobs/{{id}}/resume", self._act(partial(self._steer, paused=False))),
        ]

    async def close(self) -> None:
        """Close what the requests share."""
        await self._look.close()

    def _read(self, answer: Answer, deadline_s: float | None = None) -> Handler:
        def check(request: web.Request) -> Refusal | None:
            return may_read(request.headers, self._present_token(), self._bind())

        return self._gate.guarded(check, answer, **({} if deadline_s is None else {"deadline_s": deadline_s}))

    def _act(self, answer: Answer) -> Handler:
        return self._gate.guarded(lambda request: may_act(request.headers, self._present_token()), answer)

    def _present_token(self) -> str:
        self._token.look()
        return self._token.value

    async def _overview(self, _request: web.Request) -> Any:
        return overview_json(await self._look.present(), self._here())

    def _part(self, name: str) -> Answer:
        async def part(_request: web.Request) -> Any:
            found = overview_json(await self._look.present(), self._here())
            if found["status"] is None:
                raise Refused(503, found["problem"] or "Nothing was seen yet; try again")
            return {name: found["status"][name], "at": found["at"], "problem": found["problem"]}

        return part

    async def _history(self, _request: web.Request) -> Any:
        return history_json((await self._look.present()).seen)

    async def _search(self, request: web.Request) -> Any:
        async with self._opened() as database:
            return await (await self._letters(database)).search(request.query)

    async def _letter(self, request: web.Request) -> Any:
        async with self._opened() as database:
            return await (await self._letters(database)).one(request.match_info["id"])

    async def _explain(self, request: web.Request) -> Any:
        settings = self._here().settings
        async with self._opened() as database:
            table = await self._table(database)
        route, document_id = request.query.get("route", ""), request.query.get("id", "")
        if not route and len(table.declared) == 1:
            route = next(iter(table.declared))
        route = route if route in table else table.resolved(route)
        if route not in table:
            raise Refused(404, f"There is no route of that name; the routes are: {', '.join(table)}")
        if not document_id or len(document_id) > LONGEST_ID:
            raise Refused(400, f"`id` is the id of a document, of at most {LONGEST_ID} characters")
        async with ExplanationReader(settings, table[route]) as reader:
            found = (await reader.explain(document_id)).to_json(with_values=settings.dashboard_show_values)
        if not settings.dashboard_show_values:
            found["dead_letters"] = [{**letter, "error": None} for letter in found["dead_letters"]]
        return found

    async def _replay(self, request: web.Request) -> Any:
        async with self._opened() as database:
            done = await (await self._letters(database)).replay(await body_of(request))
        self._acted("replays filed: %d, of %d dead letters", len(done["jobs"]), done["chosen"])
        return done

    async def _discard(self, request: web.Request) -> Any:
        async with self._opened() as database:
            done = await (await self._letters(database)).discard(await body_of(request))
        self._acted("dead letters discarded: %d", done["discarded"])
        return done

    async def _cancel(self, request: web.Request) -> Any:
        job = request.match_info["id"]
        async with self._opened() as database:
            if not await JobStore(database).end(job, "cancelled"):
                raise Refused(409, "This job is not open any more, or cannot be cancelled")
        self._acted("a job was cancelled: %s", job)
        return {"job": job, "status": "cancelled"}

    async def _steer(self, request: web.Request, *, paused: bool) -> Any:
        job = request.match_info["id"]
        async with self._opened() as database:
            filed = await JobStore(database).steer(job, paused=paused)
            if filed is None and not await PositionStore(database).steer_reconcile(job, paused=paused):
                raise Refused(409, "This job is not open any more, or cannot be paused")
        self._acted(f"a job was {'paused' if paused else 'resumed'}: %s", job)
        return {"job": job, "paused": paused}

    def _acted(self, text: str, *values: object) -> None:
        log.info(f"dashboard: {text}", *values, extra=event("web.action"))  # noqa: G004 - the text is a constant
        self._look.again()

    async def _letters(self, database: MongoDatabase) -> Letters:
        settings = self._here().settings
        return Letters(database, await self._table(database), with_words=settings.dashboard_show_values)

    async def _table(self, database: MongoDatabase) -> EffectiveTable:
        return effective(declared_routes(self._here().settings), await GenerationStore(database).all())

    def _opened(self) -> "_Opened":
        return _Opened(self._here())


class _Opened:
    """The state database over a connection of its own, for one request by a person."""

    def __init__(self, here: Here) -> None:
        self._client = command_client(here.settings.mongo.uri, TIMEOUT_MS, 2 * TIMEOUT_MS)
        self._name = here.settings.state_database

    async def __aenter__(self) -> MongoDatabase:
        return state_database(self._client, self._name)

    async def __aexit__(self, *_error: object) -> None:
        self._client.close()
