"""One replica after another in a process: the first once MongoDB tells the table of routes, the next when it changes.

What a reindex changes about the table of routes (`routes/generations.py`) reaches every replica by a look at MongoDB
about once a second. It is taken up like a changed file: one replica ends in good order, and the next begins.

Invariants: one change at a time, whoever asks for it. What cannot be made changes nothing: the replica before goes on.
No replica works before the table is known.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

from tsync_stream.cluster.stored_views import store_views, waiting_changes
from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError
from tsync_stream.core.events import event
from tsync_stream.core.health import Health
from tsync_stream.core.tasks import end_tasks
from tsync_stream.replica import Replica, until_it_works
from tsync_stream.routes.declared import declared_routes
from tsync_stream.routes.generations import EffectiveTable, effective
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.in_force import InForce
from tsync_stream.source.driver import MongoDatabase, mongo_client
from tsync_stream.state.database import state_database
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.generations import Generations, UnreadableGenerations

log = logging.getLogger(__name__)

CHECK = "generations"
VIEW = "view"
LOOK_INTERVAL_S = 1.0
# How long a replica waits for the one that captures to begin with another table, and how often it looks.
LONGEST_WAIT_S = 20.0
WAIT_S = 0.05
# One that ends in good order leaves the capture lease free for a moment, until it begins again.
WITHOUT_CAPTURE_S = 2.0

Documents: TypeAlias = Mapping[str, Generations]
Make: TypeAlias = Callable[[InForce, EffectiveTable], Replica]


async def stored_generations(in_force: InForce, declared: RouteTable) -> Documents:
    """The generations of all routes, with what those of `on_change: reindex` go on by; over a connection of its own.

    Raises the errors of MongoDB calls.
    """
    async with _state(in_force) as state:
        return await store_views(state, declared, await GenerationStore(state).all(), None)


class Succession:
    """`run` until `stop_following`, then `end`. `crash` is told of an unforeseen error: the process should end then.

    `kept` are the health checks of others, which a change of the replica says nothing about. `read` reads all
    generations before there is a replica that could.
    """

    def __init__(
        self,
        in_force: InForce,
        make: Make,
        health: Health,
        crash: Callable[[BaseException], object],
        kept: Collection[str],
        read: Callable[[InForce, RouteTable], Awaitable[Documents]] = stored_generations,
    ) -> None:
        self._in_force = in_force
        self._make = make
        self._health = health
        self._crash = crash
        self._kept = kept
        self._read = read
        self._documents: Documents = {}
        self._refused = False
        self._changing = asyncio.Lock()
        self._switching = asyncio.Lock()  # the part of a change that is not interrupted
        self._starting: asyncio.Task[None] | None = None
        self.replica: Replica | None = None

    def __repr__(self) -> str:
        return f"<Succession, now {self.replica}>"

    async def run(self) -> None:
        """Begin as soon as MongoDB answers, and follow the generations of all routes from then on."""
        while self.replica is None:
            await until_it_works(self._first, self._health)
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            await self._follow(self.replica)

    async def make_anew(self, in_force: InForce) -> None:
        """Go on with other settings. Raises `ConfigurationError` if no replica can be made of them; nothing changed."""
        async with self._changing:
            declared = declared_routes(in_force.settings)
            documents = await self._held(in_force, declared)
            following = self._make(in_force, effective(declared, documents))
            self._in_force, self._documents = in_force, documents
            if self.replica is None:  # the table is not known yet
                await following.close()
                self._health.begin_anew(self._kept)
            else:
                in_force.instead_of = self.replica.table.version if in_force.instead_of else ""
                await self._replace(self.replica, following)

    async def stop_following(self, running: "asyncio.Task[None]") -> None:
        """End the task of `run`. One replica that takes the place of another does so first."""
        async with self._switching:
            await end_tasks([running])

    async def end(self) -> None:
        """End the replica in good order."""
        async with self._changing:
            await self._end(self.replica)

    async def _first(self) -> None:
        """Raises `TsyncError` if MongoDB does not answer. Settings that change meanwhile are read with the next try."""
        in_force = self._in_force
        declared = declared_routes(in_force.settings)
        documents = await self._read(in_force, declared)
        async with self._changing:
            if in_force is self._in_force:
                self._documents = documents
                self._begin(self._make(in_force, effective(declared, documents)))

    async def _follow(self, present: Replica) -> None:
        """Take up what has changed in the generations; a MongoDB that does not answer is reported by others."""
        try:
            documents = await present.generations()
        except UnreadableGenerations as error:
            self._refuse(error)
            return
        except TsyncError:
            return
        async with self._changing:
            if self.replica is not present or (documents == self._documents and not self._refused):
                return
            try:
                table = effective(present.table.declared, documents)
                following = None if table.version == present.table.version else self._make(self._in_force, table)
            except ConfigurationError as error:
                self._refuse(error)
                return
            self._health.green(CHECK)
            self._documents, self._refused = documents, False
            if following is not None:
                log.info(
                    "routes: taking up what a reindex has changed: now %s",
                    ", ".join(table),
                    extra=event("routes.changed"),
                )
                if present.joined:
                    self._in_force.instead_of = ""
                await self._replace(present, following, together=True)

    async def _until_it_is_time(self, present: Replica, following: Replica) -> None:
        """Whoever captures prepares the change, then goes first; the others go as soon as that is seen.

        If nobody captures (its replica has died meanwhile), nobody goes first.
        """
        now_s = clock.now_s()
        until_s, captured_s = now_s + LONGEST_WAIT_S, now_s
        while now_s < min(until_s, captured_s + WITHOUT_CAPTURE_S):
            if present.captures:
                await following.warm_up(following.table.keys() - present.table.keys())
                return
            present.take_no_more()  # what the other gives back is for its successor
            with suppress(TsyncError):
                if await present.table_in_force() not in ("", present.table.version):
                    return
            await asyncio.sleep(WAIT_S)
            now_s = clock.now_s()
            if not present.nobody_captures:
                captured_s = now_s

    async def _held(self, in_force: InForce, declared: RouteTable) -> Documents:
        """The generations, with what routes of `on_change: reindex` go on by. Raises `ConfigurationError`."""
        if not declared.reindexed or self.replica is None:
            return self._documents
        try:
            async with _state(in_force) as state:
                return await store_views(state, declared, self._documents, self.replica.table)
        except DependencyUnavailable as error:
            raise ConfigurationError(f"what the routes go on by cannot be stored: {error}") from error

    def _refuse(self, error: ConfigurationError) -> None:
        self._refused = True
        self._health.red(
            CHECK,
            f"the routes cannot be taken up as a reindex has left them: {error}; those before stay in force",
            needs_person=True,
        )

    async def _replace(self, present: Replica, following: Replica, *, together: bool = False) -> None:
        """`together`: all replicas do this now, and none of them works until the last one does."""
        try:
            await following.warm_up()
            if together:
                await self._until_it_is_time(present, following)
        except asyncio.CancelledError:
            await following.close()
            raise
        async with self._switching:
            await self._end(present)
            self._health.begin_anew(self._kept)
            self._begin(following)

    def _begin(self, replica: Replica) -> None:
        self.replica = replica
        self._starting = asyncio.create_task(replica.start(self._crash))
        self._starting.add_done_callback(self._ended)
        for name, parts in waiting_changes(replica.table).items():
            self._health.degraded(
                f"{VIEW} {name}",
                f"the file declares route {name} otherwise than its collection shows it ({', '.join(parts)}): "
                f"`tsync apply` or `tsync reindex {name}` builds one by the file",
                needs_person=True,
            )

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._crash(error)

    async def _end(self, replica: Replica | None) -> None:
        if self._starting is not None:
            await end_tasks([self._starting])
        if replica is not None:
            await replica.stop()


@asynccontextmanager
async def _state(in_force: InForce) -> AsyncIterator[MongoDatabase]:
    client = mongo_client(in_force.settings)
    try:
        yield state_database(client, in_force.settings.state_database)
    finally:
        client.close()
