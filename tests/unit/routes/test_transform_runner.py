"""Running a user's function: off the event loop, within its time, and whatever it raises."""

import asyncio
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import eventually
from tsync_stream.core.errors import DocumentRejected, RouteUnusable
from tsync_stream.routes.transform_runner import MOST_LEFT, TransformRunner

SOURCE = """
import asyncio, threading

release = threading.Event()
threads = []

def listing(document):
    threads.append(threading.current_thread())
    return {**document, "seen": True}

def failing(document):
    if document["n"] == 2:
        raise ValueError(f"the secret is {document['n']}")
    return document

def leaving(document):
    raise SystemExit

def hanging(document):
    if document["n"] == 2:
        release.wait(60)
    return document

async def later(document):
    await asyncio.sleep(0)
    if document["n"] == 2:
        document["missing"]
    if document["n"] == 3:
        await asyncio.sleep(60)
    return document
"""

Make = Callable[..., TransformRunner]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The user's module."""
    (tmp_path / "shop_of_test.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("shop_of_test")
    sys.modules.pop("shop_of_test").release.set()


def runner(function: str, timeout_s: float = 10.0) -> TransformRunner:
    return TransformRunner("listings", f"shop_of_test:{function}", timeout_s)


def documents(count: int = 4) -> list[dict[str, Any]]:
    return [{"id": str(n), "n": n} for n in range(count)]


async def test_the_documents_of_a_portion_run_in_one_thread_off_the_event_loop(module: Any) -> None:
    found = await runner("listing")(documents(100))
    assert found == [{**document, "seen": True} for document in documents(100)]
    (thread,) = set(module.threads)
    assert thread is not threading.current_thread()


@pytest.mark.usefixtures("module")
async def test_an_exception_costs_its_own_document_and_says_where_it_came_from() -> None:
    found = await runner("failing")(documents())
    assert [found[n] for n in (0, 1, 3)] == [documents()[n] for n in (0, 1, 3)]
    assert isinstance(found[2], DocumentRejected)
    line = SOURCE.splitlines().index("        raise ValueError(f\"the secret is {document['n']}\")") + 1
    assert str(found[2]) == f"transform failed: ValueError in line {line} of shop_of_test.py"


@pytest.mark.usefixtures("module")
async def test_a_function_that_wants_to_end_the_process_does_not() -> None:
    (found,) = await runner("leaving")(documents(1))
    assert "SystemExit" in str(found)


async def test_a_document_that_takes_too_long_costs_no_other_and_its_thread_is_left_alone(module: Any) -> None:
    run = runner("hanging", 0.2)
    found = await run(documents())
    assert [found[n] for n in (0, 1, 3)] == [documents()[n] for n in (0, 1, 3)]
    assert "longer than TRANSFORM_TIMEOUT (0.2 s)" in str(found[2])
    assert "1 threads left alone" in repr(run)
    module.release.set()


async def test_a_function_that_never_returns_ends_in_an_unusable_route_and_not_in_ever_more_threads(
    module: Any,
) -> None:
    run = runner("hanging", 0.05)
    for _ in range(MOST_LEFT):
        await run(documents(3))
    with pytest.raises(RouteUnusable, match=f"{MOST_LEFT} calls of transform `shop_of_test:hanging` do not return"):
        await run(documents(1))
    module.release.set()

    async def runs_again() -> bool:
        try:
            return await run(documents(1)) == documents(1)
        except RouteUnusable:
            return False

    await eventually(runs_again)


@pytest.mark.usefixtures("module")
async def test_an_asynchronous_function_runs_on_the_event_loop_within_its_time() -> None:
    found = await runner("later", 0.2)(documents(5))
    assert [found[n] for n in (0, 1, 4)] == [documents(5)[n] for n in (0, 1, 4)]
    assert str(found[2]).startswith("transform failed: KeyError in line")
    assert "longer than TRANSFORM_TIMEOUT" in str(found[3])


@pytest.mark.usefixtures("module")
async def test_a_stop_ends_the_wait_for_a_function() -> None:
    task = asyncio.create_task(runner("hanging")(documents()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("name", ["no_such_module:listing", "shop_of_test:no_such_function", "json:__name__"])
@pytest.mark.usefixtures("module")
async def test_what_cannot_be_imported_makes_the_route_unusable(name: str) -> None:
    with pytest.raises(RouteUnusable, match=f"route listings: transform `{name}` "):
        await TransformRunner("listings", name, 1.0)(documents(1))
