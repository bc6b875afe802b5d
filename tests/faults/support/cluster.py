"""Several replicas of one pipeline: started together, and found by their roles."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.faults.support import altered
from tests.support.forked import ForkedWorker, be_faust
from tests.support.stack import Names
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

# Short, so that take-overs take seconds. A lease must outlive three requests; a frozen server costs one deadline.
TIMES = {"TYPESENSE_CONNECTION_TIMEOUT": "1s", "LEASE_TTL": "3s", "FAIL_BACK_AFTER": "2s"}
LEASE_TTL_S = 3.0
_TAKE_OVER_TIMEOUT_S = 60.0
# Shared, since making a client takes longer than a request. Connections are not kept: a frozen replica never closes.
_http = httpx.Client(timeout=0.5, limits=httpx.Limits(max_keepalive_connections=0))


class Cluster:
    """Replicas with the same settings, apart from those given to a single one. `end` kills those that still run."""

    def __init__(self, stack: EmbeddedStack, names: Names, directory: Path, changed: Sequence[str] = ()) -> None:
        self.stack = stack
        self._names = names
        self.directory = directory
        # The changes of `altered.py` that every replica runs with.
        self.changed = list(changed)
        self.settings: dict[str, str] = dict(TIMES)
        self.replicas: list[Worker] = []

    def add(self, count: int = 1, *, changed: Sequence[str] = (), **settings: str) -> list[Worker]:
        """Start new replicas together; `changed` names changes of `altered.py`, `settings` are for these replicas."""
        added = [self._make([*self.changed, *changed], settings) for _ in range(count)]
        self.replicas += added
        self.start(*added)
        return added

    def add_behind_proxy(self, redis_port: int) -> Worker:
        """A replica that reaches the primary Redis through a proxy. No setting can do that: replicas share them."""
        settings = {altered.REDIS_PROXY_VARIABLE: str(redis_port)}
        replica = self._make([*self.changed, "primary_redis_by_another_way"], settings)
        self.replicas.append(replica)
        self.start(replica)
        return replica

    def start(self, *replicas: Worker) -> None:
        """Start replicas at once and wait for all of them."""
        for replica in replicas:
            replica.launch()
        for replica in replicas:
            replica.wait_until_started()

    def end(self) -> None:
        """Kill every replica, including frozen ones."""
        running = self.running
        for replica in running:
            replica.signal(signal.SIGKILL)
        for replica in running:
            replica.kill()

    @property
    def running(self) -> list[Worker]:
        """The replicas whose process exists, frozen or not."""
        return [replica for replica in self.replicas if replica.running]

    def capturing(self, *, among: Sequence[Worker] | None = None, timeout_s: float = _TAKE_OVER_TIMEOUT_S) -> Worker:
        """Wait until one of the running replicas (or of `among`) captures, and return it."""
        found: list[Worker] = []

        def somebody() -> bool:
            found[:] = [replica for replica in among or self.running if metric(replica, "tsync_capturing") == 1]
            return bool(found)

        wait_for(somebody, timeout_s, "no replica captures")
        return found[0]

    def following(self) -> list[Worker]:
        """The running replicas that do not capture."""
        leader = self.capturing()
        return [replica for replica in self.running if replica is not leader]

    def wait_until_shared(self, *replicas: Worker) -> None:
        """Wait until these (or all running) replicas share all partitions evenly and one of them captures."""
        chosen = replicas or tuple(self.running)
        partitions = int(self.settings.get("PARTITIONS", "8"))
        self.capturing(among=chosen)
        least = partitions // len(chosen)

        def shared() -> bool:
            owned = [metric(replica, "tsync_partitions_owned") for replica in chosen]
            return sum(owned) == partitions and min(owned) >= least

        wait_for(shared, _TAKE_OVER_TIMEOUT_S, "the partitions are not shared")

    def take_over_s(self, since_s: float, *successors: Worker) -> float:
        """Seconds from `since_s` (monotonic) until one of the successors captures."""
        self.capturing(among=successors)
        return time.monotonic() - since_s

    def total(self, name: str) -> float:
        """A metric summed over the running replicas that answer."""
        return sum(metric(replica, name) for replica in self.running)

    def backlog(self) -> float:
        """Unacked entries, as the capturing replica counts them."""
        figures = self.capturing().metrics()
        return sum(value for name, value in figures.items() if name.startswith("tsync_backlog_entries"))

    def freeze(self, replica: Worker) -> None:
        """Stop a replica's process as it is (SIGSTOP)."""
        replica.signal(signal.SIGSTOP)

    def thaw(self, replica: Worker) -> None:
        """Let a frozen replica go on (SIGCONT)."""
        replica.signal(signal.SIGCONT)

    def pull(self, name: str) -> Path:
        """Make the first replica that gets there use a tool of `altered.py`; it then removes the returned file."""
        return altered.pull(self.directory, name)

    def sent_late(self, name: str) -> list[dict[str, Any]]:
        """What a tool of `altered.py` made its replica write after it woke; nothing until Typesense has answered."""
        return altered.sent_late(self.directory, name)

    def log(self) -> str:
        """The last lines of every replica's log."""
        return "\n".join(
            f"--- replica {number}: {replica.log()[-5000:]}" for number, replica in enumerate(self.replicas)
        )

    def _make(self, changed: Sequence[str], settings: dict[str, str]) -> Worker:
        program = altered.main if changed else be_faust
        replica = ForkedWorker(self.stack, self._names, self.directory, program, **{**self.settings, **settings})
        replica.environment[altered.CHANGES_VARIABLE] = ",".join(changed)
        return replica


def metric(replica: Worker, name: str) -> float:
    """A replica's metric; -1 if it does not answer (dead, frozen, starting)."""
    if not replica.running:
        return -1
    try:
        text = _http.get(f"http://127.0.0.1:{replica.port}/metrics").text
    except httpx.HTTPError:
        return -1
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    values = [float(value) for labelled, value in pairs if labelled.partition("{")[0] == name]
    return sum(values) if values else -1
