"""Decides which differences are real, while both sides keep changing.

Invariants: a change that is merely on its way is not a difference. One counts if it is still there when everything
written before it was seen is synced, and if its document was not written in the meantime. Documents with an open dead
letter are excepted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from bson.timestamp import Timestamp

from tsync_stream.capture.term import CaptureTerm
from tsync_stream.core.model import Key
from tsync_stream.jobs.compare import Comparison, Difference, Findings
from tsync_stream.state.dead_letters import DeadLetters, record_id

# Most of what differs at a first look is on its way, and arrives within these pauses.
PAUSES_S = (0.2, 1.0)
# How often a document that is written again and again is looked at, each time when everything before is synced.
MOST_LOOKS = 3


class Judge:
    """`synced_up_to` returns when every change up to a cluster time is synced, or when the job is not `wanted`.

    `settling` is held while the changes of the route are watched, which one job does at a time.
    """

    def __init__(
        self,
        term: CaptureTerm,
        comparison: Comparison,
        dead_letters: DeadLetters,
        synced_up_to: Callable[[Timestamp], Awaitable[None]],
        wanted: Callable[[], bool],
        settling: asyncio.Lock,
    ) -> None:
        self._term = term
        self._settling = settling
        self._comparison = comparison
        self._sides = comparison.sides
        self._dead_letters = dead_letters
        self._synced_up_to = synced_up_to
        self._wanted = wanted

    async def look(self, keys: Sequence[Key], findings: Findings) -> list[Difference]:
        """What differs now; documents with an open dead letter are counted, and not returned.

        Raises the errors of MongoDB and Typesense calls.
        """
        found: list[Difference] = []
        size = self._sides.page_size
        for first in range(0, len(keys), size):
            found += await self._comparison.look(keys[first : first + size], self._term.appended.cluster_time)
        if not found:
            return []
        route = self._sides.route.name
        letters = await self._dead_letters.open_among(route, keys_of(found))
        kept = [item for item in found if record_id(route, item.key) not in letters]
        findings.excepted += len(found) - len(kept)
        return kept

    async def settle(self, found: Sequence[Difference], findings: Findings) -> None:
        """Look again until what was only on its way has arrived, and note what remains. Raises as `look` does."""
        if found:
            async with self._settling:
                await self._settle(found, findings)

    async def _settle(self, found: Sequence[Difference], findings: Findings) -> None:
        with self._term.watching(self._sides.route.name, (item.document_id for item in found)) as written:
            for pause_s in PAUSES_S:
                if found:
                    await asyncio.sleep(pause_s)
                    found = await self.look(keys_of(found), findings)
            since = self._sides.source.operation_time
            if found:
                await self._synced_up_to(since)
            for _ in range(MOST_LOOKS):
                if not found or not self._wanted():
                    break
                await self._sides.until_settled(self._wanted)
                found = await self.look(keys_of(found), findings)
                seen = self._sides.source.operation_time
                # Whatever was written before this look is captured then, and so in `written`.
                await self._synced_up_to(seen)
                moved = {name for name, cluster_time in written.items() if cluster_time > since}
                findings.differences += [item for item in found if item.document_id not in moved]
                found, since = [item for item in found if item.document_id in moved], seen
        findings.unsettled += len(found)

    async def until_seen_is_synced(self) -> None:
        """Return when everything that the source showed so far is synced."""
        await self._synced_up_to(self._sides.source.operation_time)


def keys_of(found: Iterable[Difference]) -> list[Key]:
    """The keys of some differences."""
    return [item.key for item in found]
