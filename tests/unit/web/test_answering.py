"""What bounds a request, and what an answer says when there is none."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.web.access import Refusal
from tsync_stream.web.answering import LONGEST_BODY, MOST_AT_ONCE, Gate, Refused, body_of

Answer = Callable[[web.Request], Awaitable[Any]]


async def answered(
    answer: Answer, *, refusal: Refusal | None = None, body: bytes = b"", path: str = "/x"
) -> tuple[int, Any]:
    app = web.Application()
    app.router.add_post("/x", Gate().guarded(lambda _: refusal, answer, deadline_s=0.2))
    async with TestClient(TestServer(app)) as client:
        response = await client.post(path, data=body)
        assert response.headers["Cache-Control"] == "no-store"
        return response.status, await response.json()


def failing(error: Exception) -> Answer:
    async def answer(_request: web.Request) -> Any:
        raise error

    return answer


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Refused(404, "there is none"), (404, "there is none")),
        (DependencyUnavailable("MongoDB is away"), (503, "MongoDB is away")),
        (ConfigurationError("MONGODB_URI is refused"), (503, "MONGODB_URI is refused")),
        (ValueError("a secret value"), (500, "An error that nobody foresaw; the log says where")),
    ],
)
async def test_every_failure_has_a_status_and_a_sentence(error: Exception, expected: tuple[int, str]) -> None:
    status, found = await answered(failing(error))
    assert (status, found["error"]) == expected


async def test_an_unforeseen_error_is_logged_without_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    await answered(failing(ValueError("a secret value")))
    assert "unforeseen ValueError" in caplog.text
    assert "a secret value" not in caplog.text


async def test_a_request_that_takes_too_long_is_ended() -> None:
    async def answer(_request: web.Request) -> Any:
        await asyncio.Event().wait()

    assert (await answered(answer))[0] == 504


async def test_a_refused_request_is_not_worked_on() -> None:
    assert (await answered(failing(AssertionError()), refusal=Refusal(401, "no")))[0] == 401


@pytest.mark.parametrize(
    ("body", "status"), [(b"{}", 200), (b"[]", 400), (b"{", 400), (b'{"a": "' + b"x" * LONGEST_BODY + b'"}', 413)]
)
async def test_a_body_is_a_bounded_object(body: bytes, status: int) -> None:
    assert (await answered(body_of, body=body))[0] == status


async def test_a_query_is_bounded() -> None:
    assert (await answered(body_of, body=b"{}", path=f"/x?a={'x' * 5_000}"))[0] == 414


async def test_only_so_many_requests_run_at_a_time() -> None:
    release = asyncio.Event()

    async def answer(_request: web.Request) -> Any:
        await release.wait()
        return {}

    app = web.Application()
    app.router.add_get("/x", Gate().guarded(lambda _: None, answer))
    async with TestClient(TestServer(app)) as client:
        running = [asyncio.create_task(client.get("/x")) for _ in range(MOST_AT_ONCE + 1)]
        done, waiting = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        [refused] = [task.result() for task in done]
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        release.set()
        assert {(await task).status for task in waiting} == {200}
        assert (await client.get("/x")).status == 200
