"""Documents that Typesense does not write within a request's deadline, though each is alone in its request.

Such a document gets a longer deadline, as long as a lease surely outlives it, and after some of those it is given up: a
dead letter, and its lane goes on. Invariants: an outage gives up no document, for only a time-out counts that follows
straight on another request that was in time, and only that of a large document; what was given up is not sent again for
a while, unless it has changed, so that its rechecks do not stop the lane again; what is remembered is bounded.
"""

from dataclasses import dataclass
from hashlib import blake2b

from tsync_stream.core import clock
from tsync_stream.core.keys import canonical_key
from tsync_stream.core.model import Key

TAKES_TOO_LONG = "Typesense takes too long"
# A document that makes so large a line is alone in its request: a time-out then tells which one it is.
ALONE_BYTES = 1_000_000
# A smaller document is never too much for Typesense.
SLOW_FROM_BYTES = 64_000
LONG_ATTEMPTS = 3
# A little longer than the last recheck waits, which is 18 of the longest requests.
GIVEN_UP_FOR_REQUESTS = 20
MAX_REMEMBERED = 1_000


@dataclass(slots=True)
class _Slow:
    """A document that timed out: `long_attempts` were made of it; what it was when it was given up, and until when."""

    long_attempts: int = -1  # the first time-out is that of a usual request
    digest: bytes = b""
    given_up_until_s: float = 0.0


class SlowDocuments:
    """Those of one replica. `longest_request_s` is the longer deadline."""

    def __init__(self, deadline_s: float, longest_request_s: float) -> None:
        self.longest_request_s = longest_request_s
        self._deadline_s = deadline_s
        self._slow: dict[bytes, _Slow] = {}

    def deadline_s(self, key: Key) -> float:
        """The deadline of a request with this document alone."""
        return self.longest_request_s if canonical_key(key) in self._slow else self._deadline_s

    def is_given_up(self, key: Key, line: bytes) -> bool:
        """Whether this document was given up a short while ago as it is now: then it is not sent again."""
        slow = self._slow.get(canonical_key(key))
        if slow is None or clock.now_s() >= slow.given_up_until_s:
            return False
        return slow.digest == _digest(line)

    def timed_out(self, key: Key, line_digest: bytes) -> bool:
        """Note a time-out; says whether the document is given up with it."""
        while len(self._slow) >= MAX_REMEMBERED:
            del self._slow[next(iter(self._slow))]
        slow = self._slow.setdefault(canonical_key(key), _Slow())
        slow.long_attempts += 1
        if slow.long_attempts < LONG_ATTEMPTS:
            return False
        slow.long_attempts = 0  # the next time it has its long attempts again
        slow.digest = line_digest
        slow.given_up_until_s = clock.now_s() + GIVEN_UP_FOR_REQUESTS * self.longest_request_s
        return True

    def in_time(self, key: Key) -> None:
        """The document was written, or refused."""
        if self._slow:
            self._slow.pop(canonical_key(key), None)

    def digest(self, key: Key, line: bytes) -> bytes:
        """What tells this state of a document from others; nothing for one that has not timed out yet."""
        return _digest(line) if canonical_key(key) in self._slow else b""

    def error(self, size: int) -> str:
        """What the dead letter says of a document of so many bytes."""
        return (
            f"alone in its request, with {size} bytes, it was not written within {self.longest_request_s:g} s, "
            f"{LONG_ATTEMPTS} times, while other requests were in time"
        )


def _digest(line: bytes) -> bytes:
    return blake2b(line, digest_size=16).digest()
