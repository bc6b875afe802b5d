"""How each action is done, and what became of it.

Invariant: what fails, or is left to a person, stops the later actions of its route, because they may build on it, and
no other's.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from tsync_stream.check.actions import Action, actions_as_json
from tsync_stream.check.artefact_difference import ARTEFACTS
from tsync_stream.check.make_artefacts import make_artefacts
from tsync_stream.check.schema_actions import ADD_FIELDS, REINDEX, TAKE_UP, left_to_a_person
from tsync_stream.cli.shared import say
from tsync_stream.core.errors import TsyncError
from tsync_stream.core.terminal import shorten
from tsync_stream.jobs.reindex.filing import Filing
from tsync_stream.routes.changed_view import changed_view
from tsync_stream.routes.declaration_bson import declaration_from_bson, declaration_to_bson
from tsync_stream.routes.declared import declared_routes
from tsync_stream.routes.field_origins import documents_with
from tsync_stream.routes.generations import effective
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.schema_change import REQUEST_S, FieldsRefused, add_fields
from tsync_stream.source.driver import MongoDatabase, mongo_client
from tsync_stream.source.hello import server_time
from tsync_stream.state.database import state_database
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.generations import Generations, ReindexOptions
from tsync_stream.state.jobs import JobStore, TooManyJobs
from tsync_stream.state.partial_reconciles import file_partial_reconcile
from tsync_stream.state.pipeline import PositionStore

ADDED = "fields were added to the schema"
# What is kept of the reasons of a reindex.
LONGEST_REASON = 500
NOTHING_RAN = "Nothing has run yet: the first start of a worker makes each collection as it is declared."
NEEDS_GAP = "Nothing of route {route} was done: `tsync reindex {route} --accept-gap` comes first, and asks."
WAITS_FOR_ANOTHER = "an action of this route before it was not done"


class NotDone(TsyncError):
    """An action was not done, and nothing of it is left; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an action: `text` says what was done, or why nothing was."""

    action: Action
    done: bool
    text: str


Perform: TypeAlias = Callable[[Settings, Action], Awaitable[str]]


async def apply_all(settings: Settings, actions: Sequence[Action]) -> list[Outcome]:
    """Do one after the other, in their order. Only what is no answer of a server's is raised."""
    outcomes: list[Outcome] = []
    left = left_to_a_person(actions)
    for action in actions:
        if action.route in left:
            outcomes.append(Outcome(action, done=False, text=NEEDS_GAP.format(route=action.route)))
            continue
        if any(not each.done and each.action.route == action.route for each in outcomes):
            outcomes.append(Outcome(action, done=False, text=WAITS_FOR_ANOTHER))
            continue
        try:
            outcomes.append(Outcome(action, done=True, text=await PERFORM[action.kind](settings, action)))
        except TsyncError as error:
            outcomes.append(Outcome(action, done=False, text=str(error)))
    return outcomes


def outcomes_as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """What `--json` prints of them (pure)."""
    found = actions_as_json([each.action for each in outcomes])
    return [{**action, "done": each.done, "outcome": each.text} for action, each in zip(found, outcomes, strict=True)]


async def _add_fields(settings: Settings, action: Action) -> str:
    typesense = replace(settings.typesense, connection_timeout_s=REQUEST_S)
    async with AsyncExitStack() as stack:
        target = TypesenseTarget(typesense)
        stack.push_async_callback(target.close)
        try:
            await add_fields(target, action.change["collection"], action.change["fields"], say)
        except FieldsRefused as error:
            raise NotDone(f"{error} The collection is as it was; `reindex {action.route}` builds a new one.") from error
    return f"{action.change['collection']} has them. {await _refresh(settings, action)}"


async def _refresh(settings: Settings, action: Action) -> str:
    """Sync the documents that may show the new fields: their values may take another form now."""
    async with servers(settings) as (_, state):
        table = effective(declared_routes(settings), await GenerationStore(state).all())
        route, pipeline = table.resolved(action.route), await PositionStore(state).load()
        if pipeline is None or route not in pipeline.routes:
            return "Nothing has run yet: the first start of a worker syncs every document."
        query = documents_with(table[route], [field["name"] for field in action.change["fields"]])
        try:
            job = await file_partial_reconcile(JobStore(state), route, query, reason=ADDED)
        except TooManyJobs as error:
            raise TsyncError(
                f"{action.change['collection']} has them, but the documents that may show them are not synced again: "
                f"{error} `tsync reconcile --route {action.route}` does that."
            ) from error
    which = "the documents that may show them" if query else "every document"
    return f"Partial reconcile {job} syncs {which} again; `tsync status` shows its progress."


async def _take_up(settings: Settings, action: Action) -> str:
    declared = declared_routes(settings)[action.route]

    def change(known: Generations) -> Generations:
        held = known.shown.declaration
        if known.reindex is not None or held is None or changed_view(declared, declaration_from_bson(held)):
            raise NotDone("Something else has changed it meanwhile.")
        return known.written_by(known.live, declaration_to_bson(declared))

    async with servers(settings) as (_, state):
        await GenerationStore(state).update(action.route, change)
    return "It is what the route goes on by."


async def _file_reindex(settings: Settings, action: Action) -> str:
    declared = declared_routes(settings)[action.route]
    async with servers(settings) as (target, state):
        if await PositionStore(state).load() is None:
            raise NotDone(NOTHING_RAN)
        filing, why = Filing(GenerationStore(state), target), shorten("; ".join(action.reasons), LONGEST_REASON)
        await filing.file(declared, ReindexOptions(), why, await server_time(state))
    return f"It is filed: whoever captures does it, and `reindex {action.route}` follows it."


async def _make_artefacts(settings: Settings, action: Action) -> str:
    async with servers(settings) as (target, state):
        return await make_artefacts(settings, action, target, state)


@asynccontextmanager
async def servers(settings: Settings) -> AsyncIterator[tuple[TypesenseTarget, MongoDatabase]]:
    """Typesense and the state database, for as long as the `with` lasts."""
    client, target = mongo_client(settings), TypesenseTarget(settings.typesense)
    try:
        yield target, state_database(client, settings.state_database)
    finally:
        await target.close()
        client.close()


PERFORM: Mapping[str, Perform] = {
    ADD_FIELDS: _add_fields,
    TAKE_UP: _take_up,
    REINDEX: _file_reindex,
    ARTEFACTS: _make_artefacts,
}
