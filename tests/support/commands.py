"""The queries that a client sends to MongoDB, as the driver reports them."""

from collections.abc import Mapping
from typing import Any

from pymongo import monitoring


class Finds(monitoring.CommandListener):
    """Remembers every `find`; pass it to a client as one of its `event_listeners`."""

    def __init__(self) -> None:
        self.commands: list[Mapping[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Called by the driver."""
        if event.command_name == "find":
            self.commands.append(event.command)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Called by the driver; of no interest."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Called by the driver; of no interest."""
