"""Waits for sources that could not be used when the term began: a missing one may be created, a view dropped.

Invariant: only then does a new term begin, which sees the source as it is and has its routes reconciled.
"""

import asyncio

from tsync_stream.capture.handover import TermEnd
from tsync_stream.capture.source_facts import SourceFacts
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.core.errors import TsyncError

LOOK_INTERVAL_S = 1.0


async def until_a_source_appears(term: CaptureTerm, facts: SourceFacts) -> TermEnd:
    """Look once a second while the term has routes without a source."""
    while True:
        await asyncio.sleep(LOOK_INTERVAL_S)
        for name in term.without_source:
            try:
                found = await facts.uuid(term.table[name].route)
            except TsyncError:
                break  # MongoDB is out of reach: others say so
            if isinstance(found, bytes):
                reason = f"the source of the route {name} can be used now; a new term begins with it"
                return TermEnd(reason, for_a_route=True)
