"""docs/routes-tutorial.md, step by step: each file, each change and each search does what the page says.

The blocks of the page are carried out in their order. Only names are replaced: those of servers, of the database, and
of Typesense's collections, which belong to this test alone.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.support.forked import ForkedWorker
from tests.support.stack import Names, typesense_client
from tests.support.waiting import PATIENCE, wait_for
from tsync_stream.embedded import EmbeddedStack

pytestmark = pytest.mark.reads("one database")

PAGE = (Path(__file__).parents[2] / "docs" / "routes-tutorial.md").read_text(encoding="utf-8")
_ARRIVES_S = 20.0

JQ: dict[str, Callable[[dict[str, Any]], list[Any]]] = {
    ".hits[].document": lambda answer: [hit["document"] for hit in answer["hits"]],
    ".facet_counts[].counts[] | {value, count}": lambda answer: [
        {name: each[name] for name in ("value", "count")}
        for facet in answer["facet_counts"]
        for each in facet["counts"]
    ],
}


class Block(NamedTuple):
    """One block of the page, and the heading that it is under."""

    step: str
    language: str
    text: str


def blocks() -> list[Block]:
    """All blocks in their order."""
    found, step = [], ""
    for match in re.finditer(r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        step = match[1] or step
        if match[2]:
            found.append(Block(step, match[2], match[3]))
    return found


@dataclass
class Reader:
    """Somebody who does what the page says."""

    stack: EmbeddedStack
    names: Names
    worker: ForkedWorker
    typesense: httpx.Client
    shell: dict[str, Any]
    answer: Callable[[], list[Any]] | None = None

    def do(self, block: Block) -> None:
        """Carry out one block."""
        {"python": self.python, "yaml": self.yaml, "sh": self.sh, "json": self.json}[block.language](block.text)

    def python(self, text: str) -> None:
        if file := re.match(r"# (\w+\.py)\n", text):
            (self.worker.directory / file[1]).write_text(text, encoding="utf-8")
            return
        text = text.replace("mongodb://localhost:27017/?replicaSet=rs0", self.stack.mongo.uri)
        exec(text.replace(").shop", f").{self.names.database}"), self.shell)

    def yaml(self, text: str) -> None:
        text = re.sub(r"(source: )shop\.", rf"\g<1>{self.names.database}.", text)
        text = re.sub(r"(target: )", rf"\g<1>{self.names.token}_", text)
        (self.worker.directory / "tsync.yaml").write_text(text, encoding="utf-8")

    def sh(self, text: str) -> None:
        if "export " in text:
            return
        if text.startswith("curl -X DELETE"):
            if self.worker.running:
                self.worker.stop()
            self.typesense.delete(self._address(text)).raise_for_status()
        if "tsync_stream worker" in text:
            if self.worker.running:
                self.worker.stop()
            self.worker.start()
        elif query := re.search(r"jq -c '(.+)'", text):
            address = self._address(text)
            self.answer = lambda: self._asked(address, JQ[query[1]])

    def json(self, text: str) -> None:
        assert self.answer is not None
        expected = [json.loads(line) for line in text.splitlines()]
        deadline_s = time.monotonic() + PATIENCE * _ARRIVES_S
        while (found := self.answer()) != expected and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert found == expected

    def _asked(self, address: str, query: Callable[[dict[str, Any]], list[Any]]) -> list[Any]:
        response = self.typesense.get(address)
        return query(response.json()) if response.status_code == httpx.codes.OK else [response.text]

    def _address(self, text: str) -> str:
        found = re.search(r'"\$TYPESENSE(/collections/)(.+?)"', text)
        assert found is not None
        return f"{found[1]}{self.names.token}_{found[2]}"


@pytest.fixture
def reader(stack: EmbeddedStack, names: Names, tmp_path: Path) -> Iterator[Reader]:
    """A reader in an empty folder."""
    shell: dict[str, Any] = {}
    worker = ForkedWorker(stack, names, tmp_path)
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
def test_each_step_shows_what_the_page_says(reader: Reader) -> None:
    done = blocks()
    assert len({block.step for block in done if block.language == "json"}) == 7
    for block in done:
        try:
            reader.do(block)
        except AssertionError as error:
            raise AssertionError(f"{block.step}: {error}\n{block.text}") from error
    wait_for(lambda: reader.worker.health()["problems"] == [], 20.0, lambda: str(reader.worker.health()["problems"]))
