"""Fresh servers for one contender in one scenario, and what can be seen on them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pymongo.collection import Collection

from bench.documents import Document, batches, document
from bench.measuring import wait_until
from bench.processors import keep_to
from tests.support.stack import Names, mongo_client, redis_client, typesense_client
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.sink.schema import default_schema

_WARM_UP_S = 60.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Servers for this run alone, with an empty source collection. `fresh` starts them."""

    stack: EmbeddedStack
    names: Names
    directory: Path
    source: Collection[Document]
    typesense: httpx.Client
    # The processor that Typesense has to itself, if any.
    processor: int | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The settings for these servers and names."""
        return {**self.stack.environment(), **self.names.environment()}

    @property
    def pids(self) -> dict[str, int]:
        """The processes whose CPU time counts, by name."""
        servers = {"mongod": self.stack.mongo, "redis": self.stack.primary_redis, "typesense": self.stack.typesense}
        return {name: server.pid for name, server in servers.items() if server.pid is not None}

    @property
    def versions(self) -> str:
        """The servers and their versions, in words."""
        stack = self.stack
        return ", ".join(f"{each.title} {each.version}" for each in (stack.mongo, stack.primary_redis, stack.typesense))

    def launch_typesense(self) -> None:
        """Start it after a stop, and return at once."""
        self.stack.typesense.launch()
        self.keep_typesense_to_its_processor()

    def keep_typesense_to_its_processor(self) -> None:
        """Move Typesense, if it was just started, to the processor that is its own."""
        pid = self.stack.typesense.pid
        if self.processor is not None and pid is not None:
            keep_to(self.processor, pid)

    def create_collection(self) -> None:
        """Create the Typesense collection as tsync-stream does, for contenders that do not."""
        schema = default_schema(self.names.typesense_collection)
        self.typesense.post("/collections", json=schema).raise_for_status()

    def insert(self, count: int, size_bytes: int) -> None:
        """Insert this many documents of this size, batch by batch."""
        for batch in batches(count, size_bytes):
            self.source.insert_many(batch)

    def shown(self) -> int:
        """How many documents Typesense shows; 0 while it does not answer."""
        return int(self._ask(f"/collections/{self.names.typesense_collection}").get("num_documents", 0))

    def settled(self) -> int:
        """How many of them carry the last write of a load."""
        path = f"/collections/{self.names.typesense_collection}/documents/search"
        return int(self._ask(path, q="*", filter_by="settled:=true", per_page="0").get("found", 0))

    def shows_all_of(self, stay: int) -> bool:
        """Whether Typesense shows the end of a load; asks the cheaper question first."""
        return self.shown() == stay and self.settled() == stay

    def redis_data_bytes(self) -> int:
        """Bytes of memory that the primary Redis uses for its data."""
        with redis_client(self.stack.primary_redis) as client:
            return int(client.info("memory")["used_memory_dataset"])

    def warm_up(self) -> None:
        """Wait until an insert and a delete have arrived: everything is connected then, and the fields have types."""
        key = self.source.insert_one(document(0)).inserted_id
        wait_until(lambda: self.shown() == 1, _WARM_UP_S, "the first document does not arrive")
        self.source.delete_one({"_id": key})
        wait_until(lambda: self.shown() == 0, _WARM_UP_S, "the first document does not go")

    def _ask(self, path: str, **parameters: str) -> dict[str, Any]:
        try:
            answer = self.typesense.get(path, params=parameters)
        except httpx.TransportError:  # stopped, frozen or overloaded: the next poll will tell
            return {}
        found: dict[str, Any] = answer.json() if answer.is_success else {}
        return found


@contextmanager
def fresh(processor: int | None = None) -> Iterator[Surroundings]:
    """Servers in a temporary directory, both removed afterwards. `processor` is for Typesense alone."""
    names = Names.new()
    with (
        tempfile.TemporaryDirectory(prefix="tsync-bench-") as directory,
        EmbeddedStack(Path(directory) / "stack") as stack,
        mongo_client(stack) as client,
        typesense_client(stack) as typesense,
    ):
        source = client[names.database].create_collection(names.collection)
        surroundings = Surroundings(stack, names, Path(directory), source, typesense, processor)
        surroundings.keep_typesense_to_its_processor()
        yield surroundings
