"""What a contract test does behind a tier's back: damage, outages, restarts. One class per kind of tier.

A new tier joins the whole suite by a class here (in memory: `tests.support.memory_tier`) and a line in `conftest.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import redis
from pymongo.collection import Collection

from tests.support.commands import Finds
from tests.support.stack import Names, mongo_client, redis_client
from tests.support.waiting import wait_for
from tsync_stream.core.model import EpochRef
from tsync_stream.embedded import EmbeddedStack, RedisServer
from tsync_stream.queue.mongo_layout import HEAD, OWNER, document_id, from_offset
from tsync_stream.queue.mongo_tier import MongoFallback
from tsync_stream.queue.redis_keys import GROUP
from tsync_stream.queue.redis_tier import RedisStreams
from tsync_stream.queue.tier import Tier
from tsync_stream.settings.load import RedisSettings, load_settings
from tsync_stream.source.driver import MongoClient, open_client
from tsync_stream.state.database import FALLBACK_QUEUE, state_database


class TierServer(Protocol):
    """A server that is a tier, and what can happen to it."""

    name: str

    def connect(self) -> Tier:
        """A tier object with connections of its own, as another replica would have."""

    def delete_entries(self, epoch: EpochRef, partition: int, *entry_ids: bytes) -> None:
        """These entries are gone, read or not."""

    def delete_stream(self, epoch: EpochRef, partition: int) -> None:
        """The stream is gone; its head is not."""

    def delete_head(self, epoch: EpochRef, partition: int) -> None:
        """The head is gone; the stream is not."""

    def delete_group(self, epoch: EpochRef, partition: int) -> None:
        """Nobody remembers any more what was read."""

    def turn_back(self, epoch: EpochRef, partition: int) -> None:
        """The stream is empty and at its beginning again, with its group; the head is not."""

    def add_entry(self, epoch: EpochRef, partition: int, entry_id: str) -> None:
        """Somebody adds an entry by hand; the head knows nothing of it."""

    def delete_everything(self) -> None:
        """As a wiped disk would."""

    def size(self) -> int:
        """How many keys or documents the test's tiers have left here."""

    def wait_for_reader(self) -> None:
        """Return when a `read` waits for entries."""

    def restart(self) -> None:
        """In order: what was acknowledged is still there."""

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""

    def kill(self) -> None:
        """End it."""

    def put_right(self) -> None:
        """It runs and answers, and nothing of the test is left on it."""


class RedisTierServer:
    """One of the stack's Redis servers, or of those of `redis_stack`."""

    def __init__(
        self,
        name: str,
        stack: EmbeddedStack,
        names: Names,
        directory: Path,
        redis_stack: EmbeddedStack | None = None,
    ) -> None:
        self.name = name
        chosen = redis_stack or stack
        self.process: RedisServer = {"primary": chosen.primary_redis, "backup": chosen.backup_redis}[name]
        settings = load_settings(directory, {**stack.environment(), **chosen.environment(), **names.environment()})
        self.settings: RedisSettings = {"primary": settings.primary_redis, "backup": settings.backup_redis}[name]

    def connect(self, **changed: Any) -> RedisStreams:
        """`changed` are settings that are not the server's."""
        return RedisStreams(replace(self.settings, **changed))

    def call(self, *command: str | bytes | int) -> Any:
        """One command, over a connection of its own."""
        with redis_client(self.process) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def stream(self, epoch: EpochRef, partition: int) -> str:
        """The key of a partition's stream."""
        return f"{self.settings.queue_key}:{{{epoch.deployment}:{epoch.epoch}.{epoch.nonce}:{partition}}}"

    def keys(self, epoch: EpochRef | None = None) -> set[str]:
        """All keys under our queue key, or those of an epoch."""
        with redis_client(self.process) as client:
            found: set[str] = set(client.scan_iter(match=f"{self.settings.queue_key}*", count=1000))
        if epoch is None:
            return found
        return {key for key in found if f"{{{epoch.deployment}:{epoch.epoch}.{epoch.nonce}:" in key}

    def delete_entries(self, epoch: EpochRef, partition: int, *entry_ids: bytes) -> None:
        assert self.call("XDEL", self.stream(epoch, partition), *entry_ids) == len(entry_ids)

    def delete_stream(self, epoch: EpochRef, partition: int) -> None:
        assert self.call("DEL", self.stream(epoch, partition)) == 1

    def delete_head(self, epoch: EpochRef, partition: int) -> None:
        assert self.call("DEL", f"{self.stream(epoch, partition)}:head") == 1

    def delete_group(self, epoch: EpochRef, partition: int) -> None:
        assert self.call("XGROUP", "DESTROY", self.stream(epoch, partition), GROUP) == 1

    def turn_back(self, epoch: EpochRef, partition: int) -> None:
        self.delete_stream(epoch, partition)
        self.call("XGROUP", "CREATE", self.stream(epoch, partition), GROUP, "0", "MKSTREAM")

    def add_entry(self, epoch: EpochRef, partition: int, entry_id: str) -> None:
        self.call("XADD", self.stream(epoch, partition), entry_id, "e", "")

    def delete_everything(self) -> None:
        self.call("FLUSHALL")

    def size(self) -> int:
        return len(self.keys())

    def wait_for_reader(self) -> None:
        wait_for(lambda: self.blocked_clients() > 0, 5.0, "nobody waits for entries")

    def blocked_clients(self) -> int:
        """How many clients wait in a blocking command."""
        with redis_client(self.process) as client:
            return int(client.info("clients")["blocked_clients"])

    def restart(self) -> None:
        with redis_client(self.process) as client, suppress(redis.ConnectionError):
            client.shutdown(save=True)
        wait_for(lambda: not self.process.alive, 10.0, "the server does not end")
        self.process.start()
        wait_for(self._answers, 10.0, "the server does not answer")

    def freeze(self) -> None:
        self.process.freeze()

    def kill(self) -> None:
        self.process.kill()

    def put_right(self) -> None:
        self.process.thaw()
        self.process.start()
        wait_for(self._answers, 10.0, "the server does not answer")
        left = self.keys()
        if left:
            self.call("UNLINK", *left)

    def _answers(self) -> bool:
        try:
            return bool(self.call("PING"))
        except redis.RedisError:
            return False


class MongoTierServer:
    """The stack's MongoDB, with the fallback queue in a state database of the test's own."""

    def __init__(self, name: str, stack: EmbeddedStack, names: Names) -> None:
        self.name = name
        self.process = stack.mongo
        self._stack = stack
        self._names = names
        self._clients: list[MongoClient] = []
        self._finds = Finds()

    def connect(self) -> MongoFallback:
        client = open_client(self._stack.mongo.uri, appname=self._names.token, event_listeners=[self._finds])
        self._clients.append(client)
        return MongoFallback(state_database(client, self._names.state_database))

    @contextmanager
    def collection(self) -> Iterator[Collection[dict[str, Any]]]:
        """The queue, over a connection of its own."""
        with mongo_client(self._stack) as client:
            yield client[self._names.state_database][FALLBACK_QUEUE]

    def delete_entries(self, epoch: EpochRef, partition: int, *entry_ids: bytes) -> None:
        for entry_id in entry_ids:
            number, fence = map(int, entry_id.split(b"-"))
            self._delete_one({"_id": document_id(epoch, partition, number), "fence": fence})

    def delete_stream(self, epoch: EpochRef, partition: int) -> None:
        self._delete_entries(epoch, partition)
        self._delete_one({"_id": document_id(epoch, partition, OWNER)})

    def delete_head(self, epoch: EpochRef, partition: int) -> None:
        self._delete_one({"_id": document_id(epoch, partition, HEAD)})

    def delete_group(self, epoch: EpochRef, partition: int) -> None:
        with self.collection() as queue:
            changed = queue.update_one({"_id": document_id(epoch, partition, OWNER)}, {"$unset": {"delivered": ""}})
            assert changed.modified_count == 1

    def turn_back(self, epoch: EpochRef, partition: int) -> None:
        self._delete_entries(epoch, partition)
        with self.collection() as queue:
            queue.update_one({"_id": document_id(epoch, partition, OWNER)}, {"$set": {"delivered": 0, "acked": 0}})

    def add_entry(self, epoch: EpochRef, partition: int, entry_id: str) -> None:
        number, fence = map(int, entry_id.split("-"))
        entry = {"_id": document_id(epoch, partition, number), "fence": fence, "payload": b"", "status": "queued"}
        with self.collection() as queue:
            queue.insert_one(entry)

    def delete_everything(self) -> None:
        with mongo_client(self._stack) as client:
            client.drop_database(self._names.state_database)

    def size(self) -> int:
        with self.collection() as queue:
            return queue.count_documents({})

    def wait_for_reader(self) -> None:
        before = len(self._finds.commands)  # a reader that waits asks again and again
        wait_for(lambda: len(self._finds.commands) >= before + 2, 5.0, "nobody waits for entries")

    def restart(self) -> None:
        self.process.stop()
        self.process.start()

    def freeze(self) -> None:
        self.process.freeze()

    def kill(self) -> None:
        self.process.kill()

    def put_right(self) -> None:
        self.process.thaw()
        self.process.start()
        with mongo_client(self._stack) as client:
            client.admin.command("configureFailPoint", "failCommand", mode="off")
        for connected in self._clients:  # only now: they say goodbye to the server
            connected.close()
        self.delete_everything()

    def fail(self, command: str, **how: Any) -> None:
        """Let the next `command` of a tier fail as `how` says."""
        data = {"failCommands": [command], "appName": self._names.token, **how}
        with mongo_client(self._stack) as client:
            client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=data)

    def _delete_entries(self, epoch: EpochRef, partition: int) -> None:
        with self.collection() as queue:
            queue.delete_many(from_offset(epoch, partition, 0))

    def _delete_one(self, query: dict[str, Any]) -> None:
        with self.collection() as queue:
            assert queue.delete_one(query).deleted_count == 1
