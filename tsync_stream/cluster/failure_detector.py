"""For how long each replica's beat was seen unchanged, on our own clock. Nobody else's clock is looked at.

Invariant: a beat that changed was seen now, whatever its replica's clock says; one seen for the first time, too.
"""

from collections.abc import Mapping

from tsync_stream.core import clock


class Sightings:
    """What one replica has seen of the others' beats."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def look(self, beats: Mapping[str, int]) -> dict[str, float]:
        """For how many seconds each replica's beat has been as it is now; the others are forgotten."""
        now_s = clock.now_s()
        seen = {}
        for name, beat in beats.items():
            before = self._seen.get(name)
            seen[name] = before if before is not None and before[0] == beat else (beat, now_s)
        self._seen = seen
        return {name: now_s - since_s for name, (_, since_s) in seen.items()}
