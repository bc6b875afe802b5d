"""For how long each replica's heartbeat was seen unchanged, on our own clock. Nobody else's clock is looked at.

Invariant: a heartbeat that changed was seen now, whatever its replica's clock says; one seen for the first time, too.
"""

from collections.abc import Mapping

from tsync_stream.core import clock


class FailureDetector:
    """What one replica has seen of the others' heartbeats."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def look(self, heartbeats: Mapping[str, int]) -> dict[str, float]:
        """For how many seconds each replica's heartbeat has been as it is now; the others are forgotten."""
        now_s = clock.now_s()
        seen = {}
        for name, heartbeat in heartbeats.items():
            before = self._seen.get(name)
            seen[name] = before if before is not None and before[0] == heartbeat else (heartbeat, now_s)
        self._seen = seen
        return {name: now_s - since_s for name, (_, since_s) in seen.items()}
