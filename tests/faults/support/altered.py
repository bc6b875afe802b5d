"""A worker with deliberate changes: `main` is its program.

TSYNC_TEST_CHANGES names the changes, separated by commas. Some are tools, which make a rare moment happen on command.
The others are wrong designs: the suite must fail with each of them, or it proves nothing.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from tests.support.forked import be_faust
from tsync_stream.capture import epochs, persist
from tsync_stream.capture.fan_out import FanOut, Shown
from tsync_stream.capture.term import BatchLost, CaptureTerm, ChangeProgress
from tsync_stream.composition import Parts
from tsync_stream.core.model import DeadLetter
from tsync_stream.queue.redis_tier import RedisStreams
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.state import pipeline
from tsync_stream.state.rechecks import Rechecks
from tsync_stream.state.refreshes import Refreshes
from tsync_stream.sync import agent
from tsync_stream.sync import wanted as merging
from tsync_stream.sync.batch import SyncFailed, SyncResult
from tsync_stream.sync.lane import LaneSteps

# Tools look for this file in the working directory, and remove it when they act.
TRIGGER = "trigger"
# They write this one, with what a replica sent after it was thawed.
SENT = "sent"
# In a replica's environment: the names of its changes.
CHANGES_VARIABLE = "TSYNC_TEST_CHANGES"
REDIS_PROXY_VARIABLE = "TSYNC_TEST_REDIS_PROXY_PORT"

Change = Callable[[], None]


def pulled(name: str) -> bool:
    """Whether a test has made the trigger file; true once per file."""
    try:
        Path(f"{TRIGGER}-{name}").unlink()
    except FileNotFoundError:
        return False
    return True


def sent_late(directory: Path, name: str) -> list[dict[str, Any]]:
    """The documents that a tool sent when its replica woke; none until Typesense has answered."""
    try:
        return [orjson.loads(line) for line in (directory / f"{SENT}-{name}").read_bytes().splitlines()]
    except FileNotFoundError:
        return []


def _note_sent(name: str, lines: Sequence[bytes]) -> None:
    path = Path(f"{SENT}-{name}")
    path.with_suffix(".part").write_bytes(b"\n".join(lines))
    path.with_suffix(".part").rename(path)  # complete, or not there


def pull(directory: Path, name: str) -> Path:
    """Make the trigger file (called by the test); the replica removes it when it acts."""
    path = directory / f"{TRIGGER}-{name}"
    path.touch()
    return path


# Tools


def freeze_before_write() -> None:
    """The replica freezes itself between its check of the lease and the request, with documents in hand."""
    original = TypesenseTarget.import_lines

    async def import_lines(self: TypesenseTarget, collection: str, lines: Any, **options: Any) -> Any:
        sent = list(lines) if pulled("freeze_before_write") else []
        if sent:
            os.kill(os.getpid(), signal.SIGSTOP)
        answer = await original(self, collection, lines, **options)
        if sent:
            _note_sent("freeze_before_write", sent)
        return answer

    TypesenseTarget.import_lines = import_lines  # type: ignore[method-assign,assignment]


def die_after_write() -> None:
    """As above, but when it wakes it sends its request and dies."""
    original = TypesenseTarget.import_lines

    async def import_lines(self: TypesenseTarget, collection: str, lines: Any, **options: Any) -> Any:
        sent = list(lines) if pulled("die_after_write") else []
        if sent:
            os.kill(os.getpid(), signal.SIGSTOP)
        answer = await original(self, collection, lines, **options)
        if sent:
            _note_sent("die_after_write", sent)
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    TypesenseTarget.import_lines = import_lines  # type: ignore[method-assign,assignment]


def raise_before_append() -> None:
    """The persist agent fails with a batch in hand, which is lost with it."""
    original = persist.append_batch

    async def append_batch(batch: Any) -> None:
        if batch.count and pulled("raise_before_append"):
            raise RuntimeError("raised on purpose")
        await original(batch)

    persist.append_batch = append_batch


def freeze_before_append() -> None:
    """The capturing replica freezes itself just before it appends a batch."""
    original = persist.append_batch

    async def append_batch(batch: Any) -> None:
        if batch.count and pulled("freeze_before_append"):
            os.kill(os.getpid(), signal.SIGSTOP)
        await original(batch)

    persist.append_batch = append_batch


def raise_before_ack() -> None:
    """The sync agent fails after a batch was read and before it is acked."""
    original = agent.Sync.run

    async def run(self: agent.Sync, batch: Any) -> Any:
        if pulled("raise_before_ack"):
            raise RuntimeError("raised on purpose")
        return await original(self, batch)

    agent.Sync.run = run  # type: ignore[method-assign]


def primary_redis_by_another_way() -> None:
    """This replica reaches the primary Redis through a proxy whose port is in its environment."""
    original = RedisStreams.__init__

    def init(self: RedisStreams, settings: Any, **options: Any) -> None:
        port = int(os.environ[REDIS_PROXY_VARIABLE])
        original(self, replace(settings, port=port) if settings.name == "primary" else settings, **options)

    RedisStreams.__init__ = init  # type: ignore[method-assign]


# Wrong designs


def position_after_append() -> None:
    """Appended counts as synced: an epoch begins where the previous one had captured to."""

    def synced_position(pipeline: Any, records: Any) -> Any:
        return pipeline.captured

    pipeline.synced_position = synced_position
    epochs.synced_position = synced_position  # type: ignore[attr-defined]


def no_rechecks() -> None:
    """An in-doubt write is trusted."""

    async def add(self: Rechecks, in_doubt: Any) -> int:
        return 0

    Rechecks.add = add  # type: ignore[method-assign]


def four_consumers() -> None:
    """Every lane reads every partition: four consumers per stream, each with a batch in hand."""

    def partitions(self: Parts, number: int) -> range:
        return range(self._settings.partitions)

    async def claim(self: LaneSteps, tier: Any, epoch: Any, partition: int) -> None:
        self.owned._owned[partition].claiming = False

    async def read(self: LaneSteps, tier: Any, epoch: Any) -> None:
        limits = self._queue.limits
        read = await tier.read(epoch, sorted(self.owned), self._leases.replica, limits.batch_size, limits.wait_s)
        if read.record_batches:
            await self._process(tier, epoch, read.record_batches, claimed=False)

    Parts._partitions_of_lane = partitions  # type: ignore[method-assign]
    LaneSteps._claim = claim  # type: ignore[method-assign]
    LaneSteps._read = read  # type: ignore[method-assign]


def forget_some() -> None:
    """One entry in two hundred is acked without being synced."""
    original = merging.wanted
    counted = iter(range(sys.maxsize))

    def wanted(entries: Any, not_before: Any) -> Any:
        return original([entry for entry in entries if next(counted) % 200], not_before)

    merging.wanted = wanted


def never_delete() -> None:
    """Documents that are gone from the source stay in Typesense."""

    async def delete(self: TypesenseTarget, *arguments: Any, **options: Any) -> list[Any]:
        return []

    TypesenseTarget.delete = delete  # type: ignore[method-assign]


def ack_on_failure() -> None:
    """A batch that could not be synced is acked: an outage skips what was in flight."""
    original = agent.Sync.run

    async def run(self: agent.Sync, batch: Any) -> Any:
        try:
            return await original(self, batch)
        except SyncFailed:
            return SyncResult()

    agent.Sync.run = run  # type: ignore[method-assign]


def no_claims() -> None:
    """Entries that a predecessor left pending are never synced: the new owner reads only new ones."""

    async def claim(self: LaneSteps, tier: Any, epoch: Any, partition: int) -> None:
        claimed = await tier.claim(epoch, partition, self._leases.replica, 1)
        self.owned._owned[partition].next_offset = claimed.delivered_offset + 1
        self.owned._owned[partition].claiming = False

    LaneSteps._claim = claim  # type: ignore[method-assign]


def jump_over_lost_batches() -> None:
    """A batch is appended wherever the previous one ended, and a failed agent is not noticed."""
    original = CaptureTerm.fail

    def fail(self: CaptureTerm, error: Any) -> None:
        if not isinstance(error, BatchLost):
            original(self, error)

    CaptureTerm.fail = fail  # type: ignore[method-assign]

    def advance(self: ChangeProgress, position: Any) -> Any:
        return replace(position, token=self.token, cluster_time=self.cluster_time)

    ChangeProgress.advance = advance  # type: ignore[method-assign]


def carry_on_from_now() -> None:
    """After a lost position nothing is repaired: a new epoch never needs a reconcile."""
    original = pipeline.Pipeline.next_epoch

    def next_epoch(self: Any, fence: int, tier: str, began: Any, routes: Any) -> Any:
        unneeded = {name: replace(state, reconcile=None) for name, state in routes.items()}
        return original(self, fence, tier, began, unneeded)

    pipeline.Pipeline.next_epoch = next_epoch  # type: ignore[method-assign]


def letters_for_outages() -> None:
    """Whatever cannot be written now becomes a dead letter."""
    original = agent.Sync.run

    async def run(self: agent.Sync, batch: Any) -> Any:
        try:
            return await original(self, batch)
        except SyncFailed as error:
            letters = [DeadLetter(entry.route, entry.key, "outage", str(error)) for entry in batch.entries]
            await next(iter(self._attempts.values()))._dead_letters.add(letters)
            return SyncResult(dead_letters=len(letters))

    agent.Sync.run = run  # type: ignore[method-assign]


def no_fan_out() -> None:
    """A change of a looked-up document refreshes nothing that shows it."""

    async def follow(self: FanOut, *arguments: Any) -> Shown:
        return Shown()

    FanOut.follow = follow  # type: ignore[method-assign,assignment]


def forgotten_refreshes() -> None:
    """A change that is shown by too many documents for one batch refreshes none of them."""

    async def gather(self: Refreshes, *arguments: Any) -> None: ...

    Refreshes.gather = gather  # type: ignore[method-assign,assignment]


CHANGES: dict[str, Change] = {
    change.__name__: change
    for change in (
        freeze_before_write,
        die_after_write,
        freeze_before_append,
        raise_before_append,
        raise_before_ack,
        primary_redis_by_another_way,
        position_after_append,
        no_rechecks,
        four_consumers,
        forget_some,
        never_delete,
        ack_on_failure,
        no_claims,
        jump_over_lost_batches,
        carry_on_from_now,
        letters_for_outages,
        no_fan_out,
        forgotten_refreshes,
    )
}


def main() -> None:
    """Apply the changes, then be `faust`."""
    for name in os.environ[CHANGES_VARIABLE].split(","):
        CHANGES[name]()
    be_faust()
