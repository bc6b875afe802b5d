"""The transport of a Faust application that has no broker: `memory://`.

Faust wants a transport for its broker URL, and asks it for a consumer whose place in the dependency graph
(`beacon`) it looks at. Nothing is ever sent through it: agents are joined by in-memory channels.
"""

from typing import Any, ClassVar

from faust.transport.base import Transport as BaseTransport
from mode.services import Service


class NoConsumer(Service):
    """Stands where Kafka's consumer would, with what Faust's streams and app look at. It is never started."""

    def __init__(self) -> None:
        super().__init__()
        # Streams note topic messages here until they are acked; values on channels are none.
        self._unacked_messages: set[Any] = set()

    @property
    def unacked(self) -> set[Any]:
        """Asked for by streams that run without Faust's C extension."""
        return self._unacked_messages

    def assignment(self) -> set[Any]:
        """Partitions of topics to give back when the app stops: none."""
        return set()

    async def on_task_error(self, error: BaseException) -> None:
        """Told of an agent's error; there is no commit to hold back."""


class Transport(BaseTransport):
    """Registered as `memory` in the entry points of `faust.transports`."""

    driver_version: ClassVar[str] = "memory (no broker)"  # type: ignore[misc]

    def create_consumer(self, callback: Any, **kwargs: Any) -> Any:
        """A service that does nothing."""
        return NoConsumer()
