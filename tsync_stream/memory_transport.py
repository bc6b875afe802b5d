"""The transport of a Faust application that has no broker: `memory://`.

Faust needs a transport for its broker URL, and asks it for a consumer that has a place in the dependency graph
(`beacon`). Nothing is ever sent through it: the agents are joined by in-memory channels.
"""

from typing import Any, ClassVar

from faust.transport.base import Transport as BaseTransport
from mode.services import Service


class NoConsumer(Service):
    """Takes the place of Kafka's consumer, with what Faust's streams and app read of it. It is never started."""

    def __init__(self) -> None:
        super().__init__()
        # Streams keep unacked topic messages here. Values on channels are not messages, so it stays empty.
        self._unacked_messages: set[Any] = set()

    @property
    def unacked(self) -> set[Any]:
        """Read by streams that run without Faust's C extension."""
        return self._unacked_messages

    def assignment(self) -> set[Any]:
        """Topic partitions to give back when the app stops: none."""
        return set()

    async def on_task_error(self, error: BaseException) -> None:
        """Called when an agent fails. There is no commit to hold back."""


class Transport(BaseTransport):
    """Registered as `memory` in the entry points of `faust.transports`."""

    driver_version: ClassVar[str] = "memory (no broker)"  # type: ignore[misc]

    def create_consumer(self, callback: Any, **kwargs: Any) -> Any:
        """A service that does nothing."""
        return NoConsumer()
