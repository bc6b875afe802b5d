"""The circuit breaker before Typesense: after some failures in a row, nothing is asked for a moment.

A server in trouble may still carry out later whatever it times out on now. Invariant: what leaves a guarded block is
one of our errors, and while the circuit is open it is the last one, in the same words: what is wrong has not changed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import httpx
import typesense.exceptions
from circuitbreaker import CircuitBreaker

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.sink.errors import from_typesense

BREAKER_FAILURES = 5
BREAKER_PAUSE_S = 2
# What the libraries raise when a request fails. ValueError: an answer that is not JSON, by something in between.
FAILURES = (
    OSError,  # a TimeoutError is one
    aiohttp.ClientError,
    httpx.HTTPError,
    httpx.InvalidURL,
    typesense.exceptions.TypesenseClientError,
    ValueError,
)


class Breaker:
    """The breaker of one target."""

    def __init__(self) -> None:
        self._circuit = CircuitBreaker(
            failure_threshold=BREAKER_FAILURES,
            recovery_timeout=BREAKER_PAUSE_S,
            expected_exception=DependencyUnavailable,
        )
        self._trouble = ""

    def __repr__(self) -> str:
        if self._circuit.opened:
            return f"Breaker(open for {self._circuit.open_remaining:.1f} s: {self._trouble})"
        return f"Breaker(closed, {self._circuit.failure_count} failures in a row)"

    @property
    def is_open(self) -> bool:
        """Whether nothing is sent at the moment."""
        return bool(self._circuit.opened)

    @asynccontextmanager
    async def guarding(self, request: str = "a request") -> AsyncIterator[None]:
        """Around one request, which `request` names in messages. Raises the errors of `errors.from_typesense`."""
        if self._circuit.opened:
            raise DependencyUnavailable(self._trouble)
        with self._circuit:
            try:
                yield
            except DependencyUnavailable as error:
                self._trouble = str(error)
                raise
            except FAILURES as error:
                ours = from_typesense(error, request)
                self._trouble = str(ours)
                raise ours from error
