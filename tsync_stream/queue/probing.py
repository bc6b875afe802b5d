"""Probes that end: a tier that takes long to say that it takes entries is no good as the queue."""

import asyncio

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.queue.tier import Tier

PROBE_DEADLINE_S = 1.0


async def probe_within_deadline(tier: Tier, entries: int = 0) -> None:
    """A probe that takes long is no good either. Raises the tier's errors, `DependencyUnavailable` after a second."""
    try:
        async with asyncio.timeout(PROBE_DEADLINE_S):
            await tier.probe(entries)
    except TimeoutError as error:
        raise DependencyUnavailable(f"{tier.name} tier: no answer within {PROBE_DEADLINE_S:g} s") from error
