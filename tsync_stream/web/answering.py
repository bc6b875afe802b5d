"""How the API answers: JSON, bounded in time and number, and with a sentence where it cannot.

Invariants: at most `MOST_AT_ONCE` requests are worked on, and each ends within its time, so the dashboard cannot slow
the pipeline down. No answer is kept by a browser, and none tells more of an unforeseen error than that there was one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import orjson
from aiohttp import web

from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError, unforeseen
from tsync_stream.core.events import event
from tsync_stream.core.quiet import about
from tsync_stream.web.access import Refusal
from tsync_stream.web.headers import answer_headers

log = logging.getLogger(__name__)

MOST_AT_ONCE = 8
DEADLINE_S = 10.0
LONGEST_BODY = 64 * 1024
LONGEST_QUERY = 4 * 1024

Answer: TypeAlias = Callable[[web.Request], Awaitable[Any]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]


class Refused(Exception):
    """A request that cannot be answered as it is: the status, and a sentence for people."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class Gate:
    """Wraps what answers into handlers of aiohttp. `check(request)` says why a request is refused, or None."""

    def __init__(self) -> None:
        self._running = 0

    def __repr__(self) -> str:
        return f"<Gate with {self._running} of {MOST_AT_ONCE} requests>"

    def guarded(
        self, check: Callable[[web.Request], Refusal | None], answer: Answer, deadline_s: float = DEADLINE_S
    ) -> Handler:
        """A handler that asks `check`, then `answer`, whose result it sends as JSON."""

        async def handle(request: web.Request) -> web.Response:
            if (refusal := check(request)) is not None:
                return _refusal(refusal)
            if len(request.query_string) > LONGEST_QUERY:
                return _refusal(Refusal(414, "The query is too long"))
            if self._running >= MOST_AT_ONCE:
                return _refusal(Refusal(503, "Too many requests at a time; try again"))
            self._running += 1
            try:
                return await _answered(answer, request, deadline_s)
            finally:
                self._running -= 1

        return handle


async def _answered(answer: Answer, request: web.Request, deadline_s: float) -> web.Response:
    try:
        async with asyncio.timeout(deadline_s):
            return json_response(await answer(request))
    except TimeoutError:
        return _refusal(Refusal(504, "It took too long; the pipeline goes on, try again"))
    except Refused as error:
        return _refusal(Refusal(error.status, str(error)))
    except (ConfigurationError, DependencyUnavailable) as error:
        return _refusal(Refusal(503, str(error)))
    except TsyncError as error:
        return _refusal(Refusal(409, str(error)))
    except Exception as error:  # noqa: BLE001 - a page must not tell what nobody has foreseen
        log.error(  # noqa: TRY400
            "dashboard: unforeseen %s; the pipeline is not affected",
            unforeseen(error),
            extra={**event("web.unforeseen"), **about("dashboard", "unforeseen")},
        )
        return _refusal(Refusal(500, "An error that nobody foresaw; the log says where"))


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object that was sent. Raises `Refused` if it is none, or too large."""
    content = bytearray()
    async for chunk in request.content.iter_chunked(16 * 1024):
        content += chunk
        if len(content) > LONGEST_BODY:
            raise Refused(413, f"The body is larger than {LONGEST_BODY // 1024} KB")
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise Refused(400, "The body is not JSON") from None
    if not isinstance(found, dict):
        raise Refused(400, "The body is not an object")
    return found


def json_response(value: Any, status: int = 200) -> web.Response:
    """A value as JSON; times are `datetime`, in UTC."""
    body = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z, default=str)
    return web.Response(
        body=body, status=status, content_type="application/json", headers=answer_headers(cache_control="no-store")
    )


def _refusal(refusal: Refusal) -> web.Response:
    response = json_response({"error": refusal.text}, refusal.status)
    if refusal.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    elif refusal.status == 503:
        response.headers["Retry-After"] = "1"
    return response
