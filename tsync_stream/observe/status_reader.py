"""Reads what `status` shows: first from MongoDB, all at once, then from the queue of the current tier. Changes nothing.

Invariant: a look takes bounded time. Without MongoDB there is no status; a queue that does not answer is in `unseen`.
"""

import asyncio
from dataclasses import replace
from typing import Self

from tsync_stream.cluster.membership_view import read_membership
from tsync_stream.core.errors import DependencyUnavailable, TsyncError
from tsync_stream.observe.queue_look import QueueLook
from tsync_stream.observe.route_status import RouteFacts
from tsync_stream.observe.status import Facts, Status, judge
from tsync_stream.routes.declared import declared_routes
from tsync_stream.routes.generations import effective
from tsync_stream.settings.addresses import redacted_uri
from tsync_stream.settings.load import Settings
from tsync_stream.source.documents import count_documents
from tsync_stream.source.driver import command_client
from tsync_stream.source.errors import describe_mongo_error
from tsync_stream.source.hello import server_time
from tsync_stream.state.database import state_database
from tsync_stream.state.dead_letter_counts import refused_among
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.history import History
from tsync_stream.state.jobs import JobStore
from tsync_stream.state.pipeline import Pipeline, PositionStore
from tsync_stream.state.rechecks import Rechecks
from tsync_stream.state.refreshes import Refreshes
from tsync_stream.state.verifications import VerificationStore

TIMEOUT_MS = 3_000
# A look at one server ends after this, whatever the server does.
DEADLINE_S = 5.0


class StatusReader:
    """Reads the status any number of times over the same connections; use it in an `async with`.

    `table` is the one that the deployment works by, as of the last look; before the first one, what is declared.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._declared = declared_routes(settings)
        self.table = effective(self._declared, {})
        self._client = command_client(settings.mongo.uri, TIMEOUT_MS, TIMEOUT_MS)
        database = state_database(self._client, settings.state_database)
        self.database = database
        self.positions = PositionStore(database)
        self._dead_letters = DeadLetterRecords(database)
        self.jobs = JobStore(database)
        self.refreshes = Refreshes(database)
        self.history = History(database)
        self._generations = GenerationStore(database)
        self._verifications = VerificationStore(database)
        self._rechecks = Rechecks(database, settings.longest_request_s, (), settings.partitions)
        self._queue = QueueLook(settings, database, DEADLINE_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._client.close()

    async def read(self) -> Status:
        """Look once, for `DEADLINE_S` at MongoDB and as long at the queue. Raises `TsyncError` without MongoDB."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                facts = await self._read_mongo()
        except TimeoutError:
            raise DependencyUnavailable(self._about_mongo("it took too long")) from None
        except TsyncError as error:
            raise DependencyUnavailable(self._about_mongo(describe_mongo_error(error))) from error
        if facts.pipeline is not None:
            facts = await self._with_backlog(facts, facts.pipeline)
        return judge(facts, self._settings.lease_ttl_s)

    async def _read_mongo(self) -> Facts:
        generations = await self._generations.all()
        self.table = effective(self._declared, generations)
        routes = self.table.routes
        (now, pipeline, records, membership), (counts, rechecks, jobs, verified), documents = await asyncio.gather(
            asyncio.gather(
                server_time(self.database),
                self.positions.load(),
                self.positions.records(),
                read_membership(self.database),
            ),
            asyncio.gather(
                self._dead_letters.count_by_reason(Selection(), "open"),
                self._rechecks.count(),
                self.jobs.open(),
                self._verifications.load(),
            ),
            asyncio.gather(*(count_documents(self._client, route.database, route.collection) for route in routes)),
        )
        refused = {name: refused_among(count for count in counts if count.route == name) for name in self.table}
        found = [
            RouteFacts(route, size, refused[route.name], verified.get(route.name))
            for route, size in zip(routes, documents, strict=True)
        ]
        reindexed = [each for name, each in generations.items() if name in self._declared]
        return Facts(
            now, pipeline, records, membership, routes=found, rechecks=rechecks, jobs=jobs, generations=reindexed
        )

    async def _with_backlog(self, facts: Facts, pipeline: Pipeline) -> Facts:
        try:
            async with self._queue.opened(pipeline.epoch.tier) as queue:
                return replace(facts, backlog=await queue.backlog(pipeline.epoch, pipeline.partitions))
        except TsyncError as error:
            return replace(facts, unseen=[str(error)])

    def _about_mongo(self, why: str) -> str:
        return f"MongoDB cannot be read at {redacted_uri(self._settings.mongo.uri)} (MONGODB_URI): {why}"
