"""A document that Typesense does not write in time, even alone in its request, does not stop its lane."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tests.support.letters import Letters
from tests.support.schemas import live_schema
from tsync_stream.core import clock
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.model import BEGINNING_OF_TIME, Entry, Operation, Route
from tsync_stream.observe.metrics import Metrics
from tsync_stream.settings.load import Settings, load_settings
from tsync_stream.sink.gate import WriteGate
from tsync_stream.sync.agent import Sync
from tsync_stream.sync.attempt import Attempt
from tsync_stream.sync.batch import SyncBatch, SyncFailed, SyncResult
from tsync_stream.sync.slow import (
    ALONE_BYTES,
    GIVEN_UP_FOR_REQUESTS,
    LONG_ATTEMPTS,
    MAX_REMEMBERED,
    SLOW_FROM_BYTES,
    TAKES_TOO_LONG,
    SlowDocuments,
)

ROUTE = Route("listings", "shop", "listings", "listings")
DEADLINE_S, LONGEST_S = 5.0, 7.5
HEAVY = "heavy"


class Target:
    """Times out for documents that contain HEAVY; with `down`, for any document."""

    accepted_import_bytes = 1 << 30

    def __init__(self) -> None:
        self.write_gate = WriteGate(1.0)
        self.down = False
        self.sent: list[tuple[list[bytes], float | None]] = []
        self.harmless = 0

    async def import_lines(
        self, _: str, lines: Sequence[bytes], before_another: object, deadline_s: float | None
    ) -> list[object]:
        self.sent.append(([line[:30] for line in lines], deadline_s))
        self.answer(any(HEAVY.encode() in line for line in lines))
        return []

    async def harmless_import(self, _: str) -> None:
        self.harmless += 1
        self.answer(False)

    def answer(self, too_much: bool) -> None:
        if too_much or self.down:
            raise DependencyUnavailable("Typesense: TimeoutError", in_doubt=True, timed_out=True)

    async def delete(self, *_: object, **__: object) -> list[object]:
        return []

    @property
    def deadlines_of_heavy(self) -> list[float | None]:
        return [deadline_s for lines, deadline_s in self.sent if b"big" in lines[0]]


class Bench:
    """A sync agent's logic over documents that a test chooses."""

    def __init__(self, directory: Path) -> None:
        self.settings: Settings = load_settings(directory, {})
        self.target, self.letters = Target(), Letters()
        self.documents: list[dict[str, Any]] = []
        self.lease_left: Callable[[], float] = lambda: 1000.0
        self.sync = Sync(
            {
                ROUTE.name: Attempt(
                    ROUTE, cast("Any", self.target), cast("Any", self.letters), Metrics(), self.settings, live_schema()
                )
            }
        )

    async def read(self, *_: object) -> AsyncIterator[list[dict[str, Any]]]:
        yield self.documents

    async def run(self) -> SyncResult:
        """Sync one batch as a lane does: retry until it is synced."""
        entries = [Entry("listings", document["_id"], Operation.UPDATE, Timestamp(7, 1)) for document in self.documents]
        in_doubt = False
        for _ in range(20):
            result: asyncio.Future[SyncResult] = asyncio.get_running_loop().create_future()
            batch = SyncBatch(cast("Any", self), entries, BEGINNING_OF_TIME, self.lease_left, result)
            try:
                synced = await self.sync.run(batch)
            except SyncFailed as error:
                in_doubt = in_doubt or error.in_doubt
                continue
            synced.in_doubt = synced.in_doubt or (["listings"] if in_doubt else [])
            return synced
        raise AssertionError("the lane stands still")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def heavy(size: int = 2 * ALONE_BYTES, word: str = HEAVY) -> dict[str, Any]:
    return {"_id": "big", "text": word + "x" * size}


def light(*ids: str) -> Iterable[dict[str, Any]]:
    return ({"_id": document_id, "text": "x"} for document_id in ids)


async def test_a_slow_document_becomes_a_dead_letter_and_the_others_are_written(bench: Bench) -> None:
    bench.documents = [*light("a"), heavy(), *light("z")]
    result = await bench.run()
    assert [(letter.key, letter.reason) for letter in bench.letters.written] == [("big", TAKES_TOO_LONG)]
    assert f"{LONGEST_S:g} s" in bench.letters.written[0].error
    assert (result.written, result.dead_letters) == (2, 1)
    assert result.in_doubt, "what timed out may be written later, over newer data"
    assert bench.target.deadlines_of_heavy == [DEADLINE_S] + [LONGEST_S] * LONG_ATTEMPTS
    assert bench.target.harmless == LONG_ATTEMPTS


async def test_a_document_written_within_the_longer_deadline_is_forgotten(bench: Bench) -> None:
    bench.documents = [heavy()]
    bench.target.answer = lambda too_much: (  # type: ignore[method-assign]
        Target.answer(bench.target, too_much and bench.target.deadlines_of_heavy != [DEADLINE_S, LONGEST_S])
    )
    assert (await bench.run()).written == 1
    assert bench.letters.written == []
    assert bench.target.deadlines_of_heavy == [DEADLINE_S, LONGEST_S]
    bench.target.answer = lambda too_much: None  # type: ignore[method-assign]
    await bench.run()
    assert bench.target.deadlines_of_heavy[-1] == DEADLINE_S


async def test_an_outage_gives_up_no_document_however_long_it_lasts(bench: Bench) -> None:
    bench.documents, bench.target.down = [heavy(word="")], True
    for _ in range(3):
        with pytest.raises(AssertionError, match="stands still"):
            await bench.run()
    assert bench.letters.written == []
    bench.target.down = False
    assert (await bench.run()).written == 1


async def test_no_small_document_is_ever_given_up(bench: Bench) -> None:
    bench.documents = [heavy(SLOW_FROM_BYTES // 2)]
    with pytest.raises(AssertionError, match="stands still"):
        await bench.run()
    assert bench.letters.written == []


async def test_a_longer_deadline_needs_a_lease_that_outlives_it(bench: Bench) -> None:
    bench.documents, bench.lease_left = [heavy()], lambda: (DEADLINE_S + LONGEST_S) / 2
    with pytest.raises(AssertionError, match="stands still"):
        await bench.run()
    assert bench.target.deadlines_of_heavy == [DEADLINE_S]
    assert bench.letters.written == []


async def test_a_document_given_up_is_not_sent_again_unless_it_has_changed(bench: Bench) -> None:
    """Its rechecks follow soon, and would stop the lane each time."""
    bench.documents = [heavy()]
    await bench.run()
    sent = len(bench.target.sent)
    result = await bench.run()
    assert len(bench.target.sent) == sent
    assert (result.dead_letters, list(result.in_doubt)) == (1, [])
    bench.documents = [heavy(word="now light")]
    assert (await bench.run()).written == 1
    assert len(bench.target.sent) == sent + 1


async def test_a_document_given_up_is_sent_again_after_its_last_recheck(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = clock.now_s()
    monkeypatch.setattr(clock, "now_s", lambda: now_s)
    bench.documents = [heavy()]
    await bench.run()
    sent = len(bench.target.sent)
    now_s += 18 * LONGEST_S + 1
    await bench.run()
    assert len(bench.target.sent) == sent, "the last recheck"
    now_s += GIVEN_UP_FOR_REQUESTS * LONGEST_S
    await bench.run()
    assert len(bench.target.sent) == sent + LONG_ATTEMPTS


async def test_a_large_document_is_alone_in_its_request_from_the_start(bench: Bench) -> None:
    bench.documents = [*light("a", "b"), heavy(word=""), *light("c", "d")]
    await bench.run()
    assert [len(lines) for lines, _ in bench.target.sent] == [2, 1, 2]


def test_the_memory_of_slow_documents_is_bounded() -> None:
    slow = SlowDocuments(DEADLINE_S, LONGEST_S)
    for number in range(MAX_REMEMBERED + 10):
        slow.timed_out(number, b"")
    assert repr(slow) == f"SlowDocuments({MAX_REMEMBERED} remembered, 0 given up)"
    assert slow.deadline_s(0) == DEADLINE_S
    assert slow.deadline_s(MAX_REMEMBERED) == LONGEST_S


@pytest.mark.parametrize(
    ("lease_ttl", "usual", "longest_s"),
    [("15s", "5s", 7.5), ("1s", "300ms", 0.5), ("60s", "5s", 20.0), ("1h", "10m", 1800.0), ("30s", "5s", 15.0)],
)
def test_a_lease_outlives_the_longest_request_between_two_renewals(
    tmp_path: Path, lease_ttl: str, usual: str, longest_s: float
) -> None:
    settings = load_settings(tmp_path, {"LEASE_TTL": lease_ttl, "TYPESENSE_CONNECTION_TIMEOUT": usual})
    assert settings.longest_request_s == longest_s
    assert settings.longest_request_s < 0.9 * settings.lease_ttl_s - settings.lease_ttl_s / 3
