"""The guard before a sweep: it finds what the sweep would delete, and asks a person first if that is much.

Invariants: documents are counted when everything the source has is in Typesense. A question is stored with the need of
the reconcile, and outlives any interruption and a need that follows. A person answers it; it is void only if the source
has those documents again, or somebody else removed them, and never because the collection grew.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tsync_stream.core.events import event
from tsync_stream.core.health import Health

log = logging.getLogger(__name__)

ASK_AGAIN_INTERVAL_S = 1.0
COUNT_AGAIN_INTERVAL_S = 300.0


class Orphans(NamedTuple):
    """The documents of Typesense that the source lacks.

    `lacking` says how many, of the `total` that Typesense has. `ids` are theirs; None: they are too many to keep.
    """

    lacking: int
    total: int
    ids: Sequence[str] | None


class Stored(NamedTuple):
    """What is stored with the need: a person's permission, and how many documents there were when it was asked for."""

    allowed: bool
    asked_of: int


@dataclass(slots=True)
class MassDeleteGuard:
    """`find` goes through all of Typesense, and returns what the source lacks.

    `check` is the health check that shows the question, and `option` what the command needs to act on the route alone.
    """

    check: str
    option: str
    share: float
    health: Health
    find: Callable[[], Awaitable[Orphans]]
    stored: Callable[[], Awaitable[Stored]]
    note_asked: Callable[[int], Awaitable[None]]

    async def wait(self) -> Sequence[str] | None:
        """Return when the sweep is small enough, or a person allows it: what was just found.

        None: it has to be found again, because it was too much to keep, or a person was waited for.
        """
        while True:
            lacking, total, ids = await self.find()
            allowed, asked_of = await self.stored()
            if allowed or is_small(lacking, total, asked_of, self.share):
                break
            if not asked_of:
                asked_of = total
                await self.note_asked(total)
            self.health.red(self.check, question(lacking, total, asked_of, self.option), needs_person=True)
            if await self._allowed_within(COUNT_AGAIN_INTERVAL_S):
                allowed, ids = True, None
                break
        if asked_of and not allowed:
            log.warning(
                "%s: the question whether to delete is void: the source lacks only %d documents now, of the %d "
                "that Typesense had when it was asked; these are deleted",
                self.check,
                lacking,
                asked_of,
                extra=event("reconcile.question_void", check=self.check),
            )
        self.health.green(self.check)
        return ids

    async def _allowed_within(self, wait_s: float) -> bool:
        """Look for the permission until it is given or `wait_s` have passed: counting is expensive, looking is not."""
        for _ in range(int(wait_s / ASK_AGAIN_INTERVAL_S)):
            if (await self.stored()).allowed:
                return True
            await asyncio.sleep(ASK_AGAIN_INTERVAL_S)
        return False


def is_small(lacking: int, total: int, asked_of: int, share: float) -> bool:
    """Whether no person must be asked. A collection that has grown since makes no deletion smaller (pure)."""
    return lacking <= share * min(total, asked_of or total)


def question(lacking: int, total: int, asked_of: int, option: str) -> str:
    """What a person is asked (pure)."""
    since = f" ({asked_of} when this was first asked)" if asked_of != total else ""
    return (
        f"the source lacks {lacking} of the {total} documents in Typesense{since}, more than MASS_DELETE_SHARE allows; "
        f"none of them is deleted until `tsync reconcile{option} --allow-mass-delete` permits it, or "
        "until the source has them again"
    )
