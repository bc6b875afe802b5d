"""What a contract test does behind a tier's back: damage, outages, restarts. One class per kind of tier.

A new tier joins the whole suite by a class here and one line in `conftest.py`.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import redis

from tests.support.comparison import wait_for
from tests.support.stack import Names, redis_client
from tsync_stream.config import RedisSettings, load_settings
from tsync_stream.embedded import EmbeddedStack, RedisServer
from tsync_stream.model import EpochRef
from tsync_stream.queue.base import Tier
from tsync_stream.queue.redis_streams import GROUP, RedisStreams


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
    """One of the stack's Redis servers."""

    def __init__(self, name: str, stack: EmbeddedStack, names: Names, directory: Path) -> None:
        self.name = name
        self.process: RedisServer = {"primary": stack.primary_redis, "backup": stack.backup_redis}[name]
        settings = load_settings(directory, {**stack.environment(), **names.environment()})
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
