"""What all lanes of a replica share."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.core.health import Health
from tsync_stream.core.linger import SyncPace
from tsync_stream.core.model import Route
from tsync_stream.core.wake import Wake
from tsync_stream.observe.metrics import Metrics
from tsync_stream.queue.tier import Tier
from tsync_stream.state.pipeline import PositionStore
from tsync_stream.state.rechecks import Rechecks
from tsync_stream.sync.batch import SyncBatch


@dataclass(slots=True)
class LaneTools:
    """Connections, coordination, and settings in their units.

    `attempts`: so many are made at a batch before health is red. `taken_over` is called when a partition has become
    ours, before anything of it is read.
    """

    route: Route
    partitions: int
    leases: LeaseKeeper
    epochs: EpochWatch
    positions: PositionStore
    tiers: Mapping[str, Tier]
    rechecks: Rechecks
    send: Callable[[SyncBatch], Awaitable[object]]
    health: Health
    metrics: Metrics
    taken_over: Callable[[], None]
    wake: Wake
    pace: SyncPace
    batch_size: int
    buffer_size: int
    wait_s: float
    deadline_s: float
    longest_request_s: float
    backoff_s: float
    attempts: int
