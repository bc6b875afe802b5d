"""The tiers as the capturing replica sees them: which of them take writes now, and which only seem to.

Invariant: a tier that passes its probes and fails at work is set aside for a while, longer each time.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

from tsync_stream.core import clock
from tsync_stream.core.errors import TierLost, TsyncError
from tsync_stream.core.events import event
from tsync_stream.queue.selection import SetAside, count_flaps
from tsync_stream.queue.tier import Tier, probe_within_deadline
from tsync_stream.state.pipeline import Pipeline

log = logging.getLogger(__name__)


class Tiers(Mapping[str, Tier]):
    """The tiers by name. `epoch_age_s` tells for how long this replica has seen the current epoch."""

    def __init__(self, tiers: Mapping[str, Tier], fail_back_after_s: float, epoch_age_s: Callable[[], float]) -> None:
        self.fail_back_after_s = fail_back_after_s
        self._tiers = tiers
        self._set_aside = SetAside(fail_back_after_s)
        self._epoch_age_s = epoch_age_s

    def __getitem__(self, name: str) -> Tier:
        return self._tiers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tiers)

    def __len__(self) -> int:
        return len(self._tiers)

    async def healthy(self) -> set[str]:
        """The tiers that take writes now."""

        async def is_healthy(name: str) -> bool:
            try:
                await self.require_healthy(name)
            except TsyncError as error:
                log.warning(
                    "capture: %s; this tier cannot be the queue now", error, extra=event("tier.unusable", tier=name)
                )
                return False
            return True

        answers = await asyncio.gather(*map(is_healthy, self))
        return {name for name, healthy in zip(self, answers, strict=True) if healthy}

    async def require_healthy(self, name: str, entries: int = 0) -> None:
        """Raise why a tier cannot be the queue now, or cannot hold so many entries; return if it can."""
        if why := self._set_aside.why(name, clock.now_s()):
            raise TierLost(why)
        await probe_within_deadline(self[name], entries)

    def failed_at_work(self, name: str) -> None:
        """The tier failed while it was the queue."""
        self._set_aside.failed(name, self._epoch_age_s(), clock.now_s())

    def failed_to_open(self, name: str) -> None:
        """The tier passed its probes, and then did not take the streams of an epoch."""
        self._set_aside.failed(name, 0.0, clock.now_s())

    def flaps(self, stored: Pipeline, following: str) -> int:
        """How often in a row the queue had to leave a tier for a lesser one, if it now leaves for `following`."""
        return count_flaps(stored.flaps, stored.epoch.tier, following, self._epoch_age_s())
