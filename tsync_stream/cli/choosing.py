"""Turns a person's choice into a selection of dead letters.

Invariants: an id that names none, or more than one, is an error, never a guess. Ages are measured on MongoDB's clock,
which the records use.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from string import hexdigits

import click

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.terminal import printable
from tsync_stream.routes.declared import declared_routes
from tsync_stream.routes.generations import EffectiveTable, effective
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.addresses import redacted_uri
from tsync_stream.settings.load import Settings
from tsync_stream.source.driver import MongoClient, command_client
from tsync_stream.source.errors import describe_mongo_error
from tsync_stream.state.database import state_database
from tsync_stream.state.dead_letter_search import FEWEST_DIGITS, SHOWN_DIGITS, DeadLetterRecords, Record, Selection
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.jobs import JobStore

CONNECT_MS = 3_000
# Counting a great many records takes a while.
ANSWER_MS = 60_000
MOST_IDS = 1_000


@dataclass(frozen=True, slots=True)
class Choice:
    """The ids and filters that were typed."""

    route: str | None = None
    reason: str | None = None
    older_than_s: float | None = None
    newer_than_s: float | None = None
    ids: Sequence[str] = ()

    def __bool__(self) -> bool:
        return self != Choice()


@dataclass(frozen=True, slots=True)
class Opened:
    """What the commands about dead letters and jobs need."""

    client: MongoClient
    records: DeadLetterRecords
    jobs: JobStore
    generations: GenerationStore
    declared: RouteTable

    async def table(self) -> EffectiveTable:
        """The table of routes that the deployment works by. Raises the errors of MongoDB calls."""
        return effective(self.declared, await self.generations.all())


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Opened]:
    """A connection for the duration of the block. Raises `DependencyUnavailable` with MongoDB's address."""
    client = command_client(settings.mongo.uri, CONNECT_MS, ANSWER_MS)
    database = state_database(client, settings.state_database)
    try:
        records, jobs, generations = DeadLetterRecords(database), JobStore(database), GenerationStore(database)
        yield Opened(client, records, jobs, generations, declared_routes(settings))
    except DependencyUnavailable as error:
        place = redacted_uri(settings.mongo.uri)
        raise DependencyUnavailable(
            f"MongoDB cannot be reached at {place} (MONGODB_URI): {describe_mongo_error(error)}"
        ) from error
    finally:
        client.close()


async def selection_of(choice: Choice, records: DeadLetterRecords) -> Selection:
    """The chosen records. Raises `click.UsageError` for an id that names none or several."""
    seen_before = seen_after = None
    if choice.older_than_s is not None or choice.newer_than_s is not None:
        now = await records.now()
        try:
            if choice.older_than_s is not None:
                seen_before = now - timedelta(seconds=choice.older_than_s)
            if choice.newer_than_s is not None:
                seen_after = now - timedelta(seconds=choice.newer_than_s)
        except OverflowError:
            raise click.UsageError(
                "That age goes back beyond the beginning of the calendar; choose a smaller one."
            ) from None
    if len(choice.ids) > MOST_IDS:
        raise click.UsageError(f"{len(choice.ids)} ids are too many at once: give at most {MOST_IDS}, or use a filter.")
    ids = [(await named(beginning, records)).id for beginning in choice.ids]
    return Selection(choice.route, choice.reason, seen_before, seen_after, ids or None)


async def named(beginning: str, records: DeadLetterRecords) -> Record:
    """The one record whose id begins like this. Raises `click.UsageError` if there are none or several."""
    wanted = beginning.strip().lower()
    if len(wanted) < FEWEST_DIGITS or not set(wanted) <= set(hexdigits):
        raise click.UsageError(
            f"{printable(beginning)} is not an id: give at least {FEWEST_DIGITS} hexadecimal digits. "
            "`tsync dead-letters` lists the ids."
        )
    found = await records.find(wanted)
    if not found:
        raise click.UsageError(
            f"No dead letter has an id that begins with {wanted}; `tsync dead-letters --status all` lists them."
        )
    if len(found) > 1:
        # As many digits as it takes to tell them apart.
        digits = next(n for n in range(SHOWN_DIGITS, 65) if len({record.id[:n] for record in found}) == len(found))
        several = ", ".join(record.id[:digits] for record in found)
        raise click.UsageError(
            f"Several dead letters have an id that begins with {wanted}: {several}. Give more digits."
        )
    return found[0]


def show_id(record: Record) -> str:
    """As many digits as tell records apart in practice."""
    return record.id[:SHOWN_DIGITS]
