"""Somebody who does what a page of docs/ says: each file, each change, each command and each search, in their order.

Only names are replaced: those of servers, of the database, and of Typesense's collections, which belong to one test
alone. What the page shows of answers and output is compared.
"""

import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx

from tests.support.forked import ForkedWorker
from tests.support.stack import Names
from tests.support.waiting import PATIENCE
from tsync_stream.embedded import EmbeddedStack

_ARRIVES_S = 20.0

JQ: dict[str, Callable[[dict[str, Any]], list[Any]]] = {
    ".": lambda answer: [answer],
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


def blocks(page: str) -> list[Block]:
    """All blocks in their order."""
    found, step = [], ""
    for match in re.finditer(r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        step = match[1] or step
        if match[2]:
            found.append(Block(step, match[2], match[3]))
    return found


@dataclass
class Reader:
    """One reader, with a worker whose folder is theirs."""

    stack: EmbeddedStack
    names: Names
    worker: ForkedWorker
    typesense: httpx.Client
    shell: dict[str, Any]
    answer: Callable[[], list[Any]] | None = None
    output: str = ""

    def do_all(self, page: str) -> None:
        """Carry out every block of a page. Raises `AssertionError` with the one that does not do what the page says."""
        for block in blocks(page):
            try:
                self.do(block)
            except AssertionError as error:
                raise AssertionError(f"{block.step}: {error}\n{block.text}") from error

    def do(self, block: Block) -> None:
        """Carry out one block."""
        ways = {"python": self.python, "yaml": self.yaml, "sh": self.sh, "json": self.json, "text": self.text}
        ways[block.language](block.text)

    def python(self, text: str) -> None:
        """A module to be written, or something to be done in a shell of Python."""
        if file := re.match(r"# (\w+\.py)\n", text):
            (self.worker.directory / file[1]).write_text(text, encoding="utf-8")
            return
        text = text.replace("mongodb://localhost:27017/?replicaSet=rs0", self.stack.mongo.uri)
        exec(text.replace(").shop", f").{self.names.database}"), self.shell)

    def yaml(self, text: str) -> None:
        """The routes file."""
        text = re.sub(r"(source: )shop\.", rf"\g<1>{self.names.database}.", text)
        text = re.sub(r"(target: )", rf"\g<1>{self.names.token}_", text)
        (self.worker.directory / "tsync.yaml").write_text(text, encoding="utf-8")

    def sh(self, text: str) -> None:
        """Commands, and questions to Typesense; what commands print is kept for the next block of text."""
        if "export " in text:
            return
        self.output = ""
        for line in re.sub(r" \|\n +", " | ", text).splitlines():
            self._line(line)

    def json(self, text: str) -> None:
        """What Typesense answers to the last search, sooner or later."""
        assert self.answer is not None
        expected = [json.loads(line) for line in text.splitlines()]
        deadline_s = time.monotonic() + PATIENCE * _ARRIVES_S
        while (found := self.answer()) != expected and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert found == expected

    def text(self, text: str) -> None:
        """Lines that the last commands have printed, among others and in this order."""
        said = " ".join(self.output.replace(f"{self.names.token}_", "").split())
        for line in text.splitlines():
            before, found, said = said.partition(" ".join(line.split()))
            assert found, f"{line!r} is not in:\n{before}\n{self.output}"

    def _line(self, line: str) -> None:
        if "tsync_stream worker" in line:
            if self.worker.running:
                self.worker.stop()
            self.worker.start()
        elif line.startswith("curl -X DELETE"):
            if self.worker.running:
                self.worker.stop()
            self.typesense.delete(self._address(line)).raise_for_status()
        elif line.startswith("curl -X PATCH"):
            body = json.loads(shlex.split(line)[-1])
            self.typesense.patch(self._address(line), json=body).raise_for_status()
        elif query := re.search(r"jq -c '(.+)'", line):
            address = self._address(line)
            self.answer = lambda: self._asked(address, JQ[query[1]])
        elif line.startswith("tsync "):
            done = self.worker.run_command(*shlex.split(line)[1:])
            self.output += done.stdout
            assert done.returncode == 0, f"{line}: {done.returncode}\n{done.stdout}{done.stderr}"
        elif line.startswith("printf "):
            subprocess.run(line, shell=True, cwd=self.worker.directory, check=True)
        else:
            raise AssertionError(f"no way to carry out {line!r}")

    def _asked(self, address: str, query: Callable[[dict[str, Any]], list[Any]]) -> list[Any]:
        response = self.typesense.get(address)
        if response.status_code != httpx.codes.OK:
            return [response.text]
        return query(json.loads(response.text.replace(f"{self.names.token}_", "")))

    def _address(self, text: str) -> str:
        found = re.search(r'"\$TYPESENSE(/(?:collections|aliases)/)(.+?)"', text)
        assert found is not None
        return f"{found[1]}{self.names.token}_{found[2]}"
