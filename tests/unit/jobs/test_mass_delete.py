"""The guard before a sweep: a person answers its question, or it becomes void, but never because of new documents."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.support.waiting import eventually
from tsync_stream.core.health import Health
from tsync_stream.jobs import mass_delete
from tsync_stream.jobs.mass_delete import MassDeleteGuard, Orphans, Stored, is_small

CHECK = "reconcile listings"


class Asked:
    """A guard that finds these counts, one after another; the last one stays."""

    def __init__(self, *counts: tuple[int, int], asked_of: int = 0) -> None:
        self.counts: Sequence[tuple[int, int]] = counts
        self.looks = 0
        self.stored = Stored(False, asked_of)
        self.health = Health()
        self.guard = MassDeleteGuard(
            CHECK, " --route listings", 0.2, self.health, self._find, self._stored, self._note_asked
        )

    async def _find(self) -> Orphans:
        lacking, total = self.counts[min(self.looks, len(self.counts) - 1)]
        self.looks += 1
        return Orphans(lacking, total, [f"look {self.looks}"])

    async def _stored(self) -> Stored:
        return self.stored

    async def _note_asked(self, asked_of: int) -> None:
        self.stored = self.stored._replace(asked_of=asked_of)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mass_delete, "ASK_AGAIN_INTERVAL_S", 0.001)
    monkeypatch.setattr(mass_delete, "COUNT_AGAIN_INTERVAL_S", 0.003)


async def test_a_small_sweep_asks_nobody() -> None:
    asked = Asked((20, 100))
    assert await asked.guard.wait() == ["look 1"]
    assert asked.stored == Stored(False, 0)
    assert asked.looks == 1


async def test_a_question_stays_open_while_the_collection_grows() -> None:
    asked = Asked((60, 100), (60, 1_000), (60, 100_000))
    waiting = asyncio.create_task(asked.guard.wait())
    await eventually(lambda: asked.looks > 5)
    assert not waiting.done()
    assert (
        "60 of the 100000 documents in Typesense (100 when this was first asked)" in asked.health.problems[CHECK].text
    )
    assert asked.health.problems[CHECK].needs_person
    assert "reconcile --route listings --allow-mass-delete` permits it" in asked.health.problems[CHECK].text
    asked.stored = asked.stored._replace(allowed=True)
    assert await waiting in (None, [f"look {asked.looks}"]), "while it waited, other documents may have gone"
    assert asked.health.status == "green"


async def test_a_question_outlives_a_restart() -> None:
    asked = Asked((60, 1_000), asked_of=100)
    waiting = asyncio.create_task(asked.guard.wait())
    await eventually(lambda: asked.looks > 2)
    assert not waiting.done()
    assert asked.stored.asked_of == 100
    waiting.cancel()


async def test_a_question_is_void_when_the_source_has_the_documents_again(caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked((60, 100), (60, 900), (20, 1_000))
    assert await asked.guard.wait() == ["look 3"]
    assert (
        "is void: the source lacks only 20 documents now, of the 100 that Typesense had when it was asked"
        in caplog.text
    )
    assert asked.health.status == "green"


def test_the_share_that_needs_no_permission() -> None:
    assert is_small(20, 100, 0, 0.2)
    assert not is_small(21, 100, 0, 0.2)
    assert not is_small(21, 1_000, 100, 0.2)
    assert not is_small(15, 50, 100, 0.2), "of a collection that shrank meanwhile, it is more"
    assert is_small(0, 0, 0, 0.0)
