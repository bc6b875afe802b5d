"""The queue of the current tier, opened for one look by people.

Invariants: a look takes bounded time and changes nothing. Why a tier cannot be read is said with its place.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from tsync_stream.core.causes import cause_of
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError
from tsync_stream.core.model import MONGO
from tsync_stream.queue.mongo_tier import MongoFallback
from tsync_stream.queue.redis_tier import RedisStreams
from tsync_stream.queue.tier import Tier
from tsync_stream.settings.load import RedisSettings, Settings
from tsync_stream.source.driver import MongoDatabase


class QueueLook:
    """Opens tiers by their names. Without retries: a person is waiting, and can repeat the command."""

    def __init__(self, settings: Settings, database: MongoDatabase, deadline_s: float) -> None:
        self._servers: dict[str, RedisSettings] = {
            server.name: replace(server, max_retries=0) for server in settings.redis_tiers
        }
        self._database = database
        self._deadline_s = deadline_s

    @asynccontextmanager
    async def opened(self, tier: str) -> AsyncIterator[Tier]:
        """The tier, for `deadline_s`. Raises `TsyncError` in words for people if it cannot be read."""
        queue: Tier
        if tier == MONGO:
            queue, place = MongoFallback(self._database), "the queue: MongoDB"
        elif tier not in self._servers:
            raise ConfigurationError(f"the queue: {tier.upper()}_REDIS_HOST is empty, but it is still the queue")
        else:
            server = self._servers[tier]
            queue, place = RedisStreams(server), f"the queue: {tier} Redis at {server.host}:{server.port}"
        try:
            async with asyncio.timeout(self._deadline_s):
                yield queue
        except ConfigurationError as error:
            raise ConfigurationError(f"the queue: {error}") from error
        except (TsyncError, TimeoutError) as error:
            raise DependencyUnavailable(f"{place} does not answer ({cause_of(error)})") from error
        finally:
            await queue.close()
