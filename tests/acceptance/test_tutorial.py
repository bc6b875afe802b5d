"""The pages of docs/ that walk through something, step by step: each does what it says.

The blocks of a page are carried out in their order (`tests/support/page_reader.py`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked import ForkedWorker
from tests.support.page_reader import Reader, blocks
from tests.support.stack import Names, typesense_client
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def reader(stack: EmbeddedStack, names: Names, tmp_path: Path) -> Iterator[Reader]:
    """A reader in an empty folder."""
    shell: dict[str, Any] = {}
    # A busy machine takes its time; a reader would just repeat the command.
    worker = ForkedWorker(stack, names, tmp_path, TYPESENSE_CONNECTION_TIMEOUT="5s")
    with typesense_client(stack) as typesense:
        try:
            yield Reader(stack, names, worker, typesense, shell)
        finally:
            if worker.running:
                worker.kill()
                print(f"--- the end of the worker's log ---\n{worker.log()[-8000:]}")
            if "db" in shell:
                shell["db"].client.close()


@pytest.mark.timeout(600)
@pytest.mark.reads("one database")
@pytest.mark.parametrize(("page", "steps"), [("routes-tutorial.md", 7), ("live-changes.md", 5)])
def test_each_step_shows_what_the_page_says(reader: Reader, page: str, steps: int) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert len({block.step for block in blocks(text) if block.language == "json"}) == steps
    reader.do_all(text)
    wait_for(lambda: reader.worker.health()["problems"] == [], 20.0, lambda: str(reader.worker.health()["problems"]))
