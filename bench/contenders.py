"""What is measured: the ceiling, two scripts, and tsync-stream. Each runs in its own process.

Invariant: after `end`, what was launched is gone, even if it never became ready.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import httpx

from bench.measuring import wait_until
from bench.process import EndedError, Process
from bench.surroundings import Surroundings
from tests.support.stack import is_reconciled, mongo_client
from tests.support.worker import Worker

_FOLLOW_S = 90.0
_LOG_TAIL = 5_000


class Contender(ABC):
    """A program that brings documents to Typesense, on its own servers."""

    name: ClassVar[str]
    # It follows MongoDB, so both sides are compared at the end.
    follows: ClassVar[bool] = True
    # It is so slow that a share of the changes is enough to measure it.
    share: ClassVar[float] = 1.0

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def start(self) -> None:
        """Start it, and wait until it follows the changes."""
        self.launch()
        self.wait_until_following()

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """Its process id while it runs."""

    @abstractmethod
    def launch(self) -> None:
        """Start it and return at once; also again after `stop`."""

    @abstractmethod
    def wait_until_following(self) -> None:
        """Wait until it sees whatever is written from now on."""

    @abstractmethod
    def check(self) -> None:
        """Raise `EndedError` if it has ended by itself."""

    @abstractmethod
    def log_tail(self) -> str:
        """The last lines of its log."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it properly, so that it can resume."""

    @abstractmethod
    def end(self) -> None:
        """Kill it."""


class Peer(Contender):
    """A script of `bench/peers`. Its Typesense collection is created for it."""

    module: ClassVar[str]

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        surroundings.create_collection()
        self._process = Process(self.module, self._arguments(), surroundings.environment, surroundings.directory)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid

    def launch(self) -> None:
        """Start it and return at once."""
        self._process.launch()

    def wait_until_following(self) -> None:
        """Wait until it reports that it is ready."""
        self._process.wait_until_ready()

    def check(self) -> None:
        """Raise `EndedError` if it has ended by itself."""
        self._process.running_pid()

    def log_tail(self) -> str:
        """The last lines of its log."""
        return self._process.log_tail()

    def stop(self) -> None:
        """Kill it, as scripts are stopped. It resumes from the position that it saved last, if any."""
        self._process.end()

    def end(self) -> None:
        """Kill it."""
        self._process.end()

    def _arguments(self) -> list[str]:
        return []


class Raw(Peer):
    """The ceiling. It follows no changes: `prepare` its documents, then `go`."""

    name = "raw"
    follows = False
    module = "bench.peers.raw"

    def prepare(self, count: int, size_bytes: int) -> None:
        """Let it generate its documents; returns when they are ready."""
        arguments = [str(count), str(size_bytes)]
        surroundings = self._surroundings
        self._process = Process(self.module, arguments, surroundings.environment, surroundings.directory)
        self.start()

    def go(self) -> None:
        """Let it import; returns at once."""
        self._process.go()


class Guide(Peer):
    """One request per change."""

    name = "guide"
    module = "bench.peers.guide"
    share = 0.1


class Batching(Peer):
    """Batches of 1,000 changes, a position in a file."""

    name = "batching"
    module = "bench.peers.batching"

    def _arguments(self) -> list[str]:
        return [str(self._surroundings.directory / "token.json")]


class Tsync(Contender):
    """tsync-stream itself: the worker that a user starts, with its default settings."""

    name = "tsync"

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._worker = Worker(surroundings.stack, surroundings.names, surroundings.directory)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._worker.pid if self._worker.running else None

    def launch(self) -> None:
        """Start it and return at once."""
        self._worker.launch()

    def wait_until_following(self) -> None:
        """Wait until it captures, and the reconcile of its first start is done."""
        self._worker.wait_until_started()
        self._worker.wait_until_capturing()
        wait_until(self._reconciled, _FOLLOW_S, "the reconcile of the first start is not done", check=self.check)

    def check(self) -> None:
        """Raise `EndedError` if it has ended by itself."""
        if not self._worker.running:
            raise EndedError("the worker has ended")

    def log_tail(self) -> str:
        """The last lines of its log."""
        return self._worker.log()[-_LOG_TAIL:] if self._worker.log_path.exists() else ""

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        self._worker.stop()

    def end(self) -> None:
        """SIGKILL."""
        if self._worker.running:
            self._worker.kill()

    def metric(self, name: str) -> float:
        """A metric, summed over its labels; 0 while the worker does not answer."""
        try:
            metrics = self._worker.metrics()
        except httpx.HTTPError:
            return 0.0
        return sum(value for key, value in metrics.items() if key.partition("{")[0] == name)

    def file_verification(self) -> str:
        """File a verification; returns the job's id."""
        filed = self._worker.run_command("verify")
        if filed.returncode:
            raise RuntimeError(filed.stderr)
        (job,) = self._state("jobs", {"status": "open"})
        return str(job["_id"])

    def result_of(self, job: str) -> Mapping[str, Any] | None:
        """The result of a job; None while it is open."""
        (found,) = self._state("jobs", {"_id": job})
        return None if found["status"] == "open" else found["result"]

    def _reconciled(self) -> bool:
        return any(map(is_reconciled, self._state("pipeline", {"_id": "pipeline"})))

    def _state(self, collection: str, condition: Mapping[str, Any]) -> list[Any]:
        with mongo_client(self._surroundings.stack) as client:
            return list(client[self._surroundings.names.state_database][collection].find(condition))


CONTENDERS: dict[str, type[Contender]] = {kind.name: kind for kind in (Raw, Guide, Batching, Tsync)}
