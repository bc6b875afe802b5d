"""Documents that Typesense does not write within a request's deadline, even alone in a request.

Such a document gets a longer deadline, as long as a lease surely outlives it. After a few of those it is given up: it
becomes a dead letter, and its lane goes on. Invariants: an outage gives up no document, because a time-out counts only
directly after another request that was in time, and only for a large document; a document that was given up is not sent
again for a while unless it has changed, so its rechecks do not stop the lane again; what is remembered is bounded.
"""

from dataclasses import dataclass
from hashlib import blake2b

from tsync_stream.core import clock
from tsync_stream.core.keys import canonical_key
from tsync_stream.core.model import Key

TAKES_TOO_LONG = "Typesense takes too long"
# A document with a line of this size is alone in its request, so a time-out shows which document it is.
ALONE_BYTES = 1_000_000
# A smaller document is never too much for Typesense.
SLOW_FROM_BYTES = 64_000
LONG_ATTEMPTS = 3
# A little longer than the wait for the last recheck, which is 18 of the longest requests.
GIVEN_UP_FOR_REQUESTS = 20
MAX_REMEMBERED = 1_000


@dataclass(slots=True)
class _Slow:
    """A document that timed out: how many long attempts it had; its digest when it was given up, and until when."""

    long_attempts: int = -1  # the first time-out is of a request with the usual deadline
    digest: bytes = b""
    given_up_until_s: float = 0.0


class SlowDocuments:
    """The slow documents of one replica. `longest_request_s` is the longer deadline."""

    def __init__(self, deadline_s: float, longest_request_s: float) -> None:
        self.longest_request_s = longest_request_s
        self._deadline_s = deadline_s
        self._slow: dict[bytes, _Slow] = {}

    def __repr__(self) -> str:
        now_s = clock.now_s()
        given_up = sum(now_s < slow.given_up_until_s for slow in self._slow.values())
        return f"SlowDocuments({len(self._slow)} remembered, {given_up} given up)"

    def deadline_s(self, key: Key) -> float:
        """The deadline of a request with this document alone."""
        return self.longest_request_s if canonical_key(key) in self._slow else self._deadline_s

    def is_given_up(self, key: Key, line: bytes) -> bool:
        """Whether this document was given up recently and has not changed since: then it is not sent again."""
        slow = self._slow.get(canonical_key(key))
        if slow is None or clock.now_s() >= slow.given_up_until_s:
            return False
        return slow.digest == _digest(line)

    def timed_out(self, key: Key, line_digest: bytes) -> bool:
        """Note a time-out; returns whether the document is given up now."""
        while len(self._slow) >= MAX_REMEMBERED:
            del self._slow[next(iter(self._slow))]
        slow = self._slow.setdefault(canonical_key(key), _Slow())
        slow.long_attempts += 1
        if slow.long_attempts < LONG_ATTEMPTS:
            return False
        slow.long_attempts = 0  # next time it gets all its long attempts again
        slow.digest = line_digest
        slow.given_up_until_s = clock.now_s() + GIVEN_UP_FOR_REQUESTS * self.longest_request_s
        return True

    def in_time(self, key: Key) -> None:
        """Note that the document was written or refused."""
        if self._slow:
            self._slow.pop(canonical_key(key), None)

    def digest(self, key: Key, line: bytes) -> bytes:
        """The digest of this state of a document; empty if the document has not timed out before."""
        return _digest(line) if canonical_key(key) in self._slow else b""

    def error(self, size: int) -> str:
        """What the dead letter says about a document of this many bytes."""
        return (
            f"alone in its request, with {size} bytes, it was not written within {self.longest_request_s:g} s, "
            f"{LONG_ATTEMPTS} times, while other requests were in time"
        )


def _digest(line: bytes) -> bytes:
    return blake2b(line, digest_size=16).digest()
