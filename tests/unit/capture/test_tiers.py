"""Which tiers can be the queue now: those that pass their probes and did not just fail at work."""

from typing import cast

import pytest
from bson.timestamp import Timestamp

from tsync_stream.capture.tiers import Tiers
from tsync_stream.core.errors import TierLost, TierRefused, TsyncError
from tsync_stream.core.model import BACKUP, MONGO, PRIMARY, EpochRef, Position
from tsync_stream.queue.tier import Tier
from tsync_stream.state.pipeline import Pipeline

START = Position({"_data": "00"}, Timestamp(1, 0))


class Probed:
    """A tier whose probe raises `error`, if there is one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.error: TsyncError | None = None

    async def probe(self, entries: int = 0) -> None:
        if self.error is not None:
            raise self.error


class World:
    def __init__(self, epoch_age_s: float = 1.0) -> None:
        self.probed = {name: Probed(name) for name in (PRIMARY, BACKUP, MONGO)}
        tiers = {name: cast("Tier", tier) for name, tier in self.probed.items()}
        self.tiers = Tiers(tiers, 60.0, lambda: epoch_age_s)


async def test_a_tier_that_fails_its_probe_is_not_healthy() -> None:
    world = World()
    world.probed[PRIMARY].error = TierRefused("primary: NOPERM")
    assert await world.tiers.healthy() == {BACKUP, MONGO}
    with pytest.raises(TierRefused, match="NOPERM"):
        await world.tiers.require_healthy(PRIMARY)


async def test_a_tier_that_fails_again_soon_after_a_good_probe_is_set_aside() -> None:
    world = World()
    world.tiers.failed_at_work(PRIMARY)
    assert PRIMARY in await world.tiers.healthy(), "the first failure costs nothing"
    world.tiers.failed_to_open(PRIMARY)
    assert await world.tiers.healthy() == {BACKUP, MONGO}
    with pytest.raises(TierLost, match="failed at work 2 times in a row"):
        await world.tiers.require_healthy(PRIMARY)


async def test_the_tiers_are_found_by_name() -> None:
    world = World()
    assert list(world.tiers) == [PRIMARY, BACKUP, MONGO]
    assert world.tiers[BACKUP].name == BACKUP
    assert len(world.tiers) == 3


def test_a_move_to_a_lesser_tier_soon_after_the_last_one_is_a_flap() -> None:
    stored = Pipeline(EpochRef("d", 1, "n", PRIMARY), 1, 1, START, START, flaps=2)
    assert World(epoch_age_s=1.0).tiers.flaps(stored, BACKUP) == 3
    assert World(epoch_age_s=10_000.0).tiers.flaps(stored, BACKUP) == 1
    assert World().tiers.flaps(stored, PRIMARY) == 2
