"""Does what `decision.py` says, one step of one reindex at a time.

Invariants: whatever is stored is stored by compare-and-set, so a replica that captures no more changes nothing.
Typesense knows no such thing: a request that changes what is shown, or deletes, is sent only while the capture lease
outlives it.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.core.events import event
from tsync_stream.jobs.reindex.decision import failed_carrying
from tsync_stream.jobs.reindex.further_aliases import FurtherAliases
from tsync_stream.jobs.reindex.steps import (
    CarryOver,
    Delete,
    FileVerification,
    GiveWay,
    Limit,
    Show,
    Step,
    StopWriting,
    Store,
    Wait,
)
from tsync_stream.routes.generations import generation_name
from tsync_stream.sink.aliases import NameTaken, aliases_of, delete_collection, show, show_instead
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.generations import Generations
from tsync_stream.state.jobs import VERIFY, JobStore
from tsync_stream.state.pipeline import PositionStore
from tsync_stream.state.remains import Remains

log = logging.getLogger(__name__)


class CarriesOver(Protocol):
    """Carries over what belongs to a collection, such as its synonyms, and compares both after that."""

    async def __call__(
        self, target: TypesenseTarget, source: str, to: str, before: Mapping[str, Any], /
    ) -> Mapping[str, Any]:
        """Make the collection `to` have what `source` has; returns what was carried over, as it can be stored.

        `before` is what an earlier call returned, together with other things: what `source` lost since is removed.
        Raises `ConfigurationError` if it cannot be done, and the errors of Typesense calls.
        """


class Acting:
    """The steps of one capture term. Calls raise the errors of MongoDB and Typesense.

    `documents` counts those of a route's source; `lease_lasts` says whether the capture lease outlives a request.
    """

    def __init__(
        self,
        store: GenerationStore,
        positions: PositionStore,
        jobs: JobStore,
        remains: Remains,
        target: TypesenseTarget,
        further_aliases: FurtherAliases,
        carry_over: CarriesOver,
        documents: Callable[[str], Awaitable[int]],
        lease_lasts: Callable[[], bool],
    ) -> None:
        self._store = store
        self._positions = positions
        self._jobs = jobs
        self._remains = remains
        self._target = target
        self._further_aliases = further_aliases
        self._carry_over = carry_over
        self._documents = documents
        self._lease_lasts = lease_lasts

    def __repr__(self) -> str:
        return f"<Acting on {self._target}>"

    async def do(self, document: Generations, step: Step, now: datetime) -> Generations | None:
        """Do one step at MongoDB's time `now`; returns the document as it is stored then, None if another one is."""
        match step:
            case Store(new):
                return await self._store.replace(document, new)
            case CarryOver():
                return await self._store.replace(document, await self._carried(document, step, now))
            case StopWriting(new, collection):
                return await self._stop_writing(document, new, collection)
            case GiveWay(new, collection):
                stored = await self._store.replace(document, new)
                if stored is not None:
                    await self._further_aliases.follow([document.target], collection, self._require_lease)
                    await show_instead(self._target, document.target, collection, self._require_lease)
                return stored
            case Delete():
                return await self._delete(document, step)
            case _:
                await self._ask_for(document, step)
                return document

    async def _ask_for(self, document: Generations, step: Limit | FileVerification | Show | Wait) -> None:
        match step:
            case Limit(job, rate_per_s):
                await self._positions.steer_reconcile(job, rate_per_s=rate_per_s)
            case FileVerification(job, route):
                arguments = {"repair": True, "documents": await self._documents(route)}
                await self._jobs.file(VERIFY, route, arguments, job=job)
            case Show(collection):
                others = [each.collection for each in document.generations]
                await self._further_aliases.follow(others, collection, self._require_lease)
                self._require_lease()
                await show(self._target, document.target, collection)
            case Wait():
                pass

    async def _carried(self, document: Generations, step: CarryOver, now: datetime) -> Generations:
        assert document.reindex is not None
        before = document.reindex.carried
        try:
            carried = await self._carry_over(self._target, step.source, step.target, before)
        except ConfigurationError as error:
            return failed_carrying(document, now, str(error))
        return document.in_phase("swapping", now, carried={**before, **carried})

    async def _stop_writing(self, document: Generations, new: Generations, collection: str) -> Generations | None:
        """Only with a key that may set the alias: otherwise the collection would stand still for nothing."""
        self._require_lease()
        try:
            await show(self._target, document.target, collection)
        except NameTaken:
            return await self._store.replace(document, new)
        return document  # the collection has gone by itself, and the next look finds the alias

    async def _delete(self, document: Generations, step: Delete) -> Generations | None:
        number, collection = step.leaving.number, step.collection
        if collection:
            aliases = await aliases_of(self._target, collection)
            self._require_lease()
            if aliases:
                text = "reindex %s: the collection %s stays: the alias %s shows it"
                log.warning(
                    text,
                    document.route,
                    collection,
                    ", ".join(aliases),
                    extra=event("reindex.collection_kept", route=document.route),
                )
            else:
                await delete_collection(self._target, collection)
        await self._remains.delete(generation_name(document.route, number))
        return await self._store.replace(document, document.deleted(number))

    def _require_lease(self) -> None:
        if not self._lease_lasts():
            raise DependencyUnavailable("the capture lease would not outlive a request; waiting for its renewal")
