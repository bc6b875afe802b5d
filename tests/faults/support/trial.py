"""A trial: replicas under load, a fault, and finally the checks Z and M. Its result is a row of the report.

Z: once writes have stopped, all of Typesense equals all of MongoDB. M: no document ever stepped back, except those
whose last write the pipeline knew to be in doubt.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tests.faults.support.cluster import Cluster
from tests.faults.support.report import Row
from tests.faults.support.watch import HOT_IDS, StepBack, Watcher
from tests.support.comparison import wait_until_equal
from tests.support.load import RATE, Load
from tests.support.stack import Names, is_reconciled, mongo_client, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.core.keys import typesense_id
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.state.database import RECHECKS

Source = Collection[dict[str, Any]]
Z_TIMEOUT_S = 90.0


class Trial:
    """One test's servers, replicas, load and watcher."""

    def __init__(self, stack: EmbeddedStack, names: Names, directory: Path, *, changed: Sequence[str] = ()) -> None:
        self.stack = stack
        self.names = names
        self.cluster = Cluster(stack, names, directory, changed)
        self.row = Row("", 0)
        self.ignoring: frozenset[str] = frozenset()
        self.letters_expected = False
        self.least_replicas = 1
        self.z_timeout_s = Z_TIMEOUT_S
        self.load: Load
        self.watcher: Watcher
        self._client: MongoClient[dict[str, Any]]
        self._fault_over_s: float | None = None

    def use(self, stack: EmbeddedStack) -> None:
        """Use other servers than the fixture's; call it before replicas are added."""
        self.stack = stack
        self.cluster.stack = stack

    @property
    def source(self) -> Source:
        """The source collection."""
        return self._client[self.names.database][self.names.collection]

    @property
    def state(self) -> Database[dict[str, Any]]:
        """The state database."""
        return self._client[self.names.state_database]

    @property
    def admin(self) -> Database[dict[str, Any]]:
        """MongoDB's `admin` database, for commands."""
        return self._client.admin

    @contextmanager
    def prepared(self, fault: str, seed: int, *, rate: float = RATE, keys: int = 1_500) -> Iterator["Trial"]:
        """Clients, an empty source, and a load and a watcher that are not running yet; fills the row at the end."""
        self.row.fault, self.row.seed = fault, seed
        with ExitStack() as resources:
            self._client = resources.enter_context(mongo_client(self.stack))
            resources.callback(self.cluster.end)
            typesense = resources.enter_context(typesense_client(self.stack))
            self._client[self.names.database].create_collection(self.names.collection)
            self.load = Load(
                self.stack.mongo.uri, self.names.database, self.names.collection, seed, rate=rate, keys=keys
            )
            resources.callback(self.load.close)
            hot_ids = [typesense_id(key) for key in self.load.hot_keys(HOT_IDS)]
            self.watcher = Watcher(typesense, self.names.typesense_collection, self.load.history, hot_ids)
            try:
                yield self
            except BaseException:
                print(self.cluster.log())
                raise
            finally:
                self._note()

    @contextmanager
    def under_load(
        self, fault: str, seed: int, *, replicas: int = 1, settings: Mapping[str, str] | None = None, **load: Any
    ) -> Iterator["Trial"]:
        """The block is the fault: replicas, load and watcher run. At its end writes stop, and Z and M must hold.

        `replicas` is what the fault needs; the command line may ask for more.
        """
        with self.prepared(fault, seed, **load):
            self.cluster.settings |= settings or {}
            self.cluster.add(max(replicas, self.least_replicas))
            self.cluster.wait_until_shared()
            self.wait_until_reconciled()
            with self.running():
                yield self
            self.check()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Load and watcher run as long as the block."""
        self.watcher.start()
        try:
            with self.load.running():
                yield
                self.fault_is_over()
        except BaseException:
            self.watcher.stop()
            raise

    def fault_is_over(self) -> None:
        """The fault has ended: recovery is timed from here. Only the first call counts."""
        if self._fault_over_s is None:
            self._fault_over_s = time.monotonic()

    def check(self, *, rechecked: bool = False) -> None:
        """Check Z and M. `rechecked`: wait until every in-doubt write was rechecked, and check Z once more."""
        self.wait_for_z()
        self.row.recovery_s = time.monotonic() - (self._fault_over_s or time.monotonic())
        if rechecked:
            self.wait_until_rechecked()
            self.wait_for_z()
        self.watcher.stop()
        assert self.watcher.looks > 0, "M was never checked"
        steps = self.unexcused_steps_back()
        assert not steps, f"documents stepped back: {', '.join(map(str, steps[:5]))}"
        if not self.letters_expected:
            assert self.state.dead_letters.count_documents({}) == 0, "dead letters"
        self.row.result = "held"

    def unexcused_steps_back(self, first: int = 0) -> list[StepBack]:
        """Steps back, starting with number `first`, of documents whose last write was never in doubt.

        A request that timed out, or that a frozen or dead owner had sent, may land late; nothing can prevent that. It
        is excused only for documents that the pipeline itself stored as rechecks. They are read from the oplog, since
        finished rechecks are removed.
        """
        steps = self.watcher.steps_back[first:]
        if not steps:
            return []
        stored = {"ns": f"{self.names.state_database}.{RECHECKS}", "op": "i"}
        in_doubt = {typesense_id(entry["o"]["key"]) for entry in self._client.local["oplog.rs"].find(stored)}
        return [step for step in steps if step.document_id not in in_doubt]

    def wait_for_z(self, timeout_s: float | None = None) -> None:
        """Wait until all of Typesense equals all of MongoDB."""
        wait_until_equal(self.stack, self.names, timeout_s=timeout_s or self.z_timeout_s, ignoring=self.ignoring)

    def check_in_between(self) -> None:
        """Check Z while the load pauses: later writes could hide a loss."""
        self.load.pause()
        self.wait_for_z()
        self.load.go_on()

    def wait_until_rechecked(self) -> None:
        """Wait until every in-doubt write was checked again for the last time."""
        wait_for(lambda: not self.state.rechecks.count_documents({}), 60.0, "rechecks are left")

    def wait_until_reconciled(self, timeout_s: float = 60.0) -> None:
        """Wait until the pipeline exists and no reconcile is open."""

        def done() -> bool:
            return is_reconciled(self.pipeline())

        wait_for(done, timeout_s, "the reconcile is not done")

    def pipeline(self) -> dict[str, Any]:
        """The epoch document; empty before the first start."""
        return self.state.pipeline.find_one({"_id": "pipeline"}) or {}

    def wait_for_next_epoch(self, after: int, timeout_s: float = 60.0) -> None:
        """Wait until an epoch later than `after` is current."""
        wait_for(lambda: self.pipeline().get("epoch", 0) > after, timeout_s, f"epoch {after} does not end")

    def wait_for_tier(self, tier: str, timeout_s: float = 60.0) -> None:
        """Wait until this tier is the queue."""
        wait_for(lambda: self.pipeline().get("tier") == tier, timeout_s, f"{tier} does not become the queue")

    def take_over(self, since_s: float, *successors: Worker) -> None:
        """Wait until a successor captures, and note how long that took since `since_s` (monotonic)."""
        self.row.take_over_s.append(self.cluster.take_over_s(since_s, *successors))

    def _note(self) -> None:
        row = self.row
        row.replicas = len(self.cluster.replicas)
        row.operations = self.load.operations
        row.looks = self.watcher.looks
        row.steps_back = len(self.watcher.steps_back)
        with suppress(PyMongoError):
            row.epochs = int(self.pipeline().get("epoch", 1)) - 1
