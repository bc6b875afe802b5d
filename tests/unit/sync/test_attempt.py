"""One attempt at a batch: between two attempts no documents stay in memory, and a refused deletion is recorded."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tests.support import lanes
from tests.support.schemas import live_schema
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError
from tsync_stream.core.model import BEGINNING_OF_TIME, SHOWS_OLDER, DeadLetter, Entry, Operation, Route
from tsync_stream.observe.metrics import Metrics
from tsync_stream.settings.load import load_settings
from tsync_stream.sink.dividing import Refusal
from tsync_stream.sink.errors import from_typesense
from tsync_stream.sink.gate import WriteGate
from tsync_stream.sync.agent import Sync
from tsync_stream.sync.attempt import Attempt
from tsync_stream.sync.batch import SyncBatch, SyncFailed, SyncResult
from tsync_stream.sync.writer import Write

ROUTE = Route("listings", "shop", "listings", "listings")


class Reader:
    """Has one document."""

    async def read(self, *_: object) -> AsyncIterator[list[dict[str, Any]]]:
        yield [{"_id": "a", "text": "x" * 100}]


def attempts_in_memory() -> int:
    """How many attempts still hold their requests."""
    return sum(isinstance(thing, Write) for thing in gc.get_objects())


class Target:
    """Fails with each of `failures`; then it accepts everything."""

    def __init__(self, failures: Iterable[Exception]) -> None:
        self.write_gate = WriteGate(1.0)
        self.accepted_import_bytes = 1 << 30
        self.held: list[int] = []
        self._failures = iter(failures)

    async def import_lines(self, _: str, lines: Sequence[bytes], **_options: object) -> list[object]:
        """As `TypesenseTarget` does it: a deadline in a frame that knows the request."""
        assert lines
        self.held.append(attempts_in_memory())
        for failure in self._failures:
            try:
                raise copy(failure)  # the test keeps the other, which must not keep our frame
            except TimeoutError as error:
                raise from_typesense(error) from error
        return []

    async def delete(self, *_: object, **__: object) -> list[object]:
        """Accept every deletion."""
        return []


class Letters:
    """Records the dead letters that were written, and the keys whose letters were closed."""

    def __init__(self) -> None:
        self.written: list[DeadLetter] = []
        self.closed: list[Any] = []

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        self.written += letters

    async def resolve(self, _: str, keys: Iterable[Any]) -> int:
        self.closed += keys
        return 0


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """What only a garbage collection frees may stay for long."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def sync_of(directory: Path, target: Target, letters: Letters | None = None) -> Sync:
    """A sync agent's logic over this target."""
    settings = load_settings(directory, {})
    return Sync(
        {
            ROUTE.name: Attempt(
                ROUTE, cast("Any", target), cast("Any", letters or Letters()), Metrics(), settings, live_schema()
            )
        }
    )


async def run(
    directory: Path, target: Target, keys: Sequence[Any] = ("a",), letters: Letters | None = None
) -> SyncResult:
    """One attempt at a batch; of its keys `a` has a document."""
    entries = [Entry("listings", key, Operation.UPDATE, Timestamp(7, 1)) for key in keys]
    result: asyncio.Future[SyncResult] = asyncio.get_running_loop().create_future()
    batch = SyncBatch(cast("Any", Reader()), entries, BEGINNING_OF_TIME, lambda: 1000.0, result)
    return await sync_of(directory, target, letters).run(batch)


async def test_a_retry_holds_only_the_documents_it_has_read(tmp_path: Path) -> None:
    target = Target([TimeoutError(), TimeoutError()])
    sync = sync_of(tmp_path, target)
    bench = lanes.Bench()
    bench.leases.give(0, 7)

    async def agent(batch: SyncBatch) -> None:
        batch.reader = cast("Any", Reader())
        batch.result.set_result(await sync.run(batch))

    bench.sync = agent
    bench.tier.put(0, "a")
    assert ("ack", 0, [1]) in await bench.steps()
    assert target.held == [1, 1, 1]


@pytest.mark.parametrize(
    "failure",
    [TimeoutError(), DependencyUnavailable("Typesense: 503"), ConfigurationError("refused")],
    ids=["a time-out", "an outage", "a wrong setting"],
)
async def test_a_kept_failure_of_an_attempt_holds_no_documents(tmp_path: Path, failure: Exception) -> None:
    target = Target([failure])
    with pytest.raises(SyncFailed) as caught:
        await run(tmp_path, target)
    assert isinstance(caught.value.cause, TsyncError)
    assert caught.value.in_doubt == isinstance(failure, TimeoutError)
    assert len(target.held) == 1
    assert attempts_in_memory() == 0


async def test_a_refused_deletion_is_a_dead_letter_of_the_deleted_key(tmp_path: Path) -> None:
    class Refusing(Target):
        async def delete(self, *arguments: object, **__: object) -> list[object]:
            assert arguments[1] == ["12", "b"]
            return [Refusal("12", "too large for a proxy", "words")]

    letters = Letters()
    result = await run(tmp_path, Refusing([]), ["a", 12, "b"], letters)
    assert (result.written, result.deleted, result.dead_letters) == (1, 1, 1)
    assert letters.written == [DeadLetter("listings", 12, "too large for a proxy", "words", SHOWS_OLDER)]
    assert 12 not in letters.closed
    assert {"a", "b"} <= set(letters.closed)
