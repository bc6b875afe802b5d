"""The kinds of jobs that people file and that this version understands, each with the tools that it needs.

Invariant: what another version of ours filed, and this one does not understand, is no job here.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bson.timestamp import Timestamp

from tsync_stream.capture.begin import CaptureTools
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.jobs.replay import Replay, ReplayTools
from tsync_stream.jobs.verify import Verify, VerifyTools
from tsync_stream.source.documents import DocumentReader
from tsync_stream.state.dead_letter_counts import refused_from_bson
from tsync_stream.state.jobs import REPLAY, VERIFY, Job


class Running(Protocol):
    """A job under a term: `cursor` is where its last batch ends, which may still be on its way to the queue."""

    name: str
    cursor: Any

    async def run(self) -> None:
        """Queue everything, from the cursor on."""


class Filed(Running, Protocol):
    """One that a person filed."""

    def progress(self) -> Mapping[str, Any]:
        """How far it is."""

    async def result(self) -> Mapping[str, Any]:
        """What came of it, once all that it queued is synced."""


@dataclass(frozen=True, slots=True)
class JobKinds:
    """`make` is the way to a job. `synced_up_to` returns when every change up to a cluster time is synced, or when
    it is not wanted any more.
    """

    tools: CaptureTools
    term: CaptureTerm
    wait_for_room: Callable[[], Awaitable[None]]
    synced_up_to: Callable[[Timestamp, Callable[[], bool]], Awaitable[None]]

    def make(self, job: Job, wanted: Callable[[], bool]) -> Filed | None:
        """The job, ready to run; None if this version does not understand it. `wanted`: nobody has cancelled it."""
        make = {REPLAY: self._replay, VERIFY: self._verify}.get(job.kind)
        try:
            return None if make is None else make(job, wanted)
        except (LookupError, TypeError):
            return None

    def _replay(self, job: Job, wanted: Callable[[], bool]) -> Filed:
        tools = ReplayTools(
            records=self.tools.dead_letter_records,
            send=self.tools.send_entries,
            wait_for_room=self.wait_for_room,
            wanted=wanted,
            batch_size=self.tools.settings.buffer.max_buffer_size,
        )
        return Replay(job, self.term, tools)

    def _verify(self, job: Job, wanted: Callable[[], bool]) -> Filed:
        settings = self.tools.settings
        tools = VerifyTools(
            open_source=lambda: DocumentReader(self.tools.client, settings.lease_ttl_s, self.tools.dense_turn),
            target=self.tools.target,
            dead_letters=self.tools.dead_letters,
            schema=self.tools.schema,
            send=self.tools.send_entries,
            wait_for_room=self.wait_for_room,
            synced_up_to=lambda cluster_time: self.synced_up_to(cluster_time, wanted),
            wanted=wanted,
            mass_delete_share=settings.mass_delete_share,
            batch_size=settings.buffer.max_buffer_size,
        )
        return Verify(job, self.term, tools)


def measured(job: Job, progress: Mapping[str, Any]) -> tuple[int, int, str]:
    """How much is done, of about how much, and of what (pure)."""
    if job.kind == VERIFY:
        return int(progress.get("compared", 0)), int(job.arguments.get("documents", 0)), "documents are compared"
    return int(progress.get("queued", 0)), int(job.arguments.get("chosen") or 0), "dead letters are queued"


def ending(job: Job, result: Mapping[str, Any]) -> tuple[str, bool]:
    """What came of a job, for the log, and whether all is well; what is refused now comes first (pure)."""
    refused = refused_from_bson(result["refused"])
    if job.kind == REPLAY:
        failed = refused_from_bson(result["failed"])
        counts = [f"queued: {result['queued']}", f"resolved: {result['resolved']}", f"failed again: {failed.total}"]
    else:
        counts = [f"{name}: {count}" for name, count in result.items() if type(count) is int]
    return f"{refused}; {', '.join(counts)}", not refused.total
