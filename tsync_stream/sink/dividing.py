"""Requests that are refused because of their content are divided, until each refusal is about a single document.

A proxy limits the size of a request, a firewall takes a text for an attack, and Typesense answers "Bad request." to a
whole import if one document in it makes its handler fail. Invariants: a document that is refused alone is at fault only
if a harmless request passes at the same moment; otherwise a person must act. For n documents there are at most 2n
requests and n + 1 harmless ones. A refusal is a definite answer: nothing of a refused request is carried out later, so
its other documents may be sent again as they are.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tsync_stream.sink.errors import TOO_LARGE, TOO_LONG, RequestRefused
from tsync_stream.sink.wire import IdRequest, Rejection

Request = TypeVar("Request")
Harmless = Callable[[], Awaitable[object]]

TOO_LARGE_FOR_PROXY = "too large for a proxy"
REFUSED_BY_PROXY = "refused by a proxy"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An id whose deletion is refused, with a short reason and the server's or proxy's words."""

    document_id: str
    reason: str
    error: str


async def rejected_alone(
    lines: Sequence[bytes], send: Callable[[bytes, int], Awaitable[list[Rejection]]], harmless: Harmless
) -> list[Rejection]:
    """Send the lines of an import that was refused as a whole; returns the lines that are refused by themselves.

    `send` is given a body and how many lines it has.
    """
    rejections: list[Rejection] = []

    async def send_some(numbers: range) -> None:
        found = await send(b"\n".join(lines[numbers.start : numbers.stop]), len(numbers))
        rejections.extend(replace(rejection, line=numbers[rejection.line]) for rejection in found)

    everything = range(len(lines))
    for numbers, refused in await _alone(_halves(everything) or [everything], send_some, _halves, harmless):
        rejections.append(Rejection(numbers.start, *_reason_and_error(refused, len(lines[numbers.start]))))
    return rejections


async def deletions_refused(
    requests: Iterable[IdRequest], send: Callable[[IdRequest], Awaitable[None]], harmless: Harmless
) -> list[Refusal]:
    """Send the requests; returns the ids of those that are refused alone."""
    refused_requests = await _alone(requests, send, IdRequest.smaller, harmless)
    return [
        Refusal(request.document_id, *_reason_and_error(refused, len(request.delete_path)))
        for request, refused in refused_requests
    ]


async def _alone(
    requests: Iterable[Request],
    send: Callable[[Request], Awaitable[None]],
    smaller: Callable[[Request], Sequence[Request]],
    harmless: Harmless,
) -> list[tuple[Request, RequestRefused]]:
    """Send the requests, and in place of a refused one its parts; returns the refused ones that have no parts.

    Raises what `harmless` raises, and what `send` raises but for refusals.
    """
    alone: list[tuple[Request, RequestRefused]] = []
    waiting = list(requests)[::-1]
    others_pass = False
    while waiting:
        request = waiting.pop()
        try:
            await send(request)
        except RequestRefused as refused:
            parts = smaller(request)
            if not parts or not others_pass:
                await harmless()
                others_pass = True
            waiting += parts[::-1]
            if not parts:
                alone.append((request, refused))
    return alone


def _halves(numbers: range) -> list[range]:
    if len(numbers) < 2:
        return []
    middle = len(numbers) // 2
    return [numbers[:middle], numbers[middle:]]


def _reason_and_error(refused: RequestRefused, size: int) -> tuple[str, str]:
    """The reason and words of the dead letter for a document that is refused alone, in so many bytes (pure)."""
    if refused.status in TOO_LARGE or refused.status in TOO_LONG:
        return TOO_LARGE_FOR_PROXY, (
            f"alone it makes a request of {size} bytes, and a proxy before Typesense refuses that ({refused.status}): "
            "IMPORT_MAX_BYTES divides documents between requests, never a document"
        )
    if refused.words:
        return f"rejected by Typesense ({refused.status})", refused.words
    return REFUSED_BY_PROXY, (
        f"a proxy or firewall before Typesense refuses it alone ({refused.status}), and lets other requests pass"
    )
