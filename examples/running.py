"""Runs an example: servers of its own, sample data, the worker, and a story of searches and changes. Then all stops.

Invariants:
- The servers, the data and the worker live in a temporary folder, so each run begins anew and touches nothing else.
- The story's searches ask Typesense, its changes write to MongoDB, as an application would; the worker is not asked.
- However the example is ended, no process is left behind; after a SIGKILL the folder is.
- A search is repeated until it finds what the story expects. If it never does, the example fails, says what was found
  instead, and leaves its folder with the logs.
"""

import argparse
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

import httpx
from bson import json_util
from pymongo import MongoClient
from pymongo.database import Database

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.terminal import write_anywhere
from tsync_stream.demo.servers import Worker, demo_settings
from tsync_stream.demo.signals import interrupt_on_signals
from tsync_stream.embedded.environment import embedded_stack

Documents: TypeAlias = Database[dict[str, Any]]

PATIENCE_S = 60.0
_LOOK_INTERVAL_S = 0.01
_TIMEOUT_S = 5.0
_MOST_HITS = 100
_STAY_S = 1.0
_SHOWN_AFTER_S = 0.05


class ExampleFailed(Exception):
    """A search did not find what the story expects."""


@dataclass(frozen=True)
class Search:
    """A search in one Typesense collection; `line` makes one line of text of a document that it finds."""

    title: str
    collection: str
    parameters: Mapping[str, str]
    line: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class Example:
    """One application: `folder` holds `tsync.yaml` and `data/*.jsonl`, one file for each collection of `database`.

    `prepare` makes indexes, and collections that need options, before the data is loaded. `loaded`: how many documents
    each Typesense collection has then.
    """

    folder: Path
    database: str
    loaded: Mapping[str, int]
    prepare: Callable[[Documents], None]
    story: Callable[["Running"], None]


class Running:
    """A running example, as its story sees it."""

    def __init__(self, documents: Documents, typesense: httpx.Client, worker: Worker) -> None:
        self.documents = documents
        self.searches: dict[str, Search] = {}
        self._typesense = typesense
        self._worker = worker
        self._changed_s: float | None = None

    def change(self, what: str, write: Callable[[], object]) -> None:
        """Write to MongoDB. The next search says how soon it found the change."""
        say(f"\n==> {what}")
        self._changed_s = time.perf_counter()
        write()

    def finds(self, search: Search, *ids: object) -> None:
        """Search until exactly these documents are found, in this order, and show them. Raises ExampleFailed."""
        expected = [str(each) for each in ids]
        self.searches[search.title] = search

        def until_found() -> dict[str, Any]:
            return self._until(
                lambda: self.ask(search),
                lambda answer: found_ids(answer) == expected,
                lambda answer: (
                    f"“{search.title}” should find {expected}, and finds {found_ids(answer) or answer['found']}"
                ),
            )

        until_found()
        took = "" if self._changed_s is None else f" ({(time.perf_counter() - self._changed_s) * 1000:.0f} ms later)"
        self._changed_s = None
        # Typesense finds a document by its new values a moment before it shows them.
        time.sleep(_SHOWN_AFTER_S)
        answer = until_found()
        say(f"\n{search.title}: {answer['found']} found{took}")
        for line in shown_lines(search, answer):
            say(f"  {line}")

    def wait_until_loaded(self, collection: str, count: int) -> None:
        """Wait until a Typesense collection has so many documents. Raises ExampleFailed."""
        everything = Search(f"all {collection}", collection, {"q": "*"}, str)
        self._until(
            lambda: self.ask(everything),
            lambda answer: answer["found"] == count,
            lambda answer: f"{collection} should have {count} documents, and has {answer['found']}",
        )

    def wait_until_healthy(self) -> None:
        """Wait until the worker reports no problem. Raises ExampleFailed."""
        self._until(
            self._worker.report, lambda report: not report["problems"], lambda _: "the worker should be healthy"
        )

    def ask(self, search: Search) -> dict[str, Any]:
        """Typesense's answer; without hits while the collection is not there."""
        response = self._typesense.get(address(search))
        if response.status_code == httpx.codes.OK:
            answer: dict[str, Any] = response.json()
            return answer
        return {"found": f"nothing ({response.status_code}: {response.text})", "hits": []}

    def _until(
        self,
        ask: Callable[[], dict[str, Any]],
        holds: Callable[[dict[str, Any]], bool],
        otherwise: Callable[[dict[str, Any]], str],
    ) -> dict[str, Any]:
        deadline_s = time.monotonic() + PATIENCE_S
        while not holds(answer := ask()):
            problems = self._worker.report()["problems"]  # raises if the worker has ended
            if time.monotonic() > deadline_s:
                raise ExampleFailed(f"{otherwise(answer)}; the worker's problems: {problems}")
            time.sleep(_LOOK_INTERVAL_S)
        return answer


def run(example: Example) -> int:
    """Run the example as the command line asks; returns the exit code."""
    write_anywhere()
    interrupt_on_signals()
    folder = Path(tempfile.mkdtemp(prefix=f"tsync-{example.folder.name}-"))
    try:
        with ExitStack() as closing:
            _run(example, folder, closing, stay=_stays(example))
    except (ConfigurationError, ExampleFailed) as error:
        print(f"The example has failed: {error}\nThe logs are in {folder / 'logs'}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    shutil.rmtree(folder)
    say("\n==> Stopped; nothing is left of it.")
    return 0


def _stays(example: Example) -> bool:
    parser = argparse.ArgumentParser(prog=f"python -m examples.{example.folder.name}", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="go on until Ctrl-C, with commands for more searches")
    return bool(parser.parse_args().stay)


def _run(example: Example, folder: Path, closing: ExitStack, *, stay: bool) -> None:
    say("==> Starting MongoDB, two Redis servers and Typesense")
    settings = demo_settings({**os.environ, "TSYNC_EMBEDDED_DIR": str(folder)})
    servers = closing.enter_context(embedded_stack(settings, []))
    client: MongoClient[dict[str, Any]] = closing.enter_context(MongoClient(servers["MONGODB_URI"]))
    documents = client[example.database]
    example.prepare(documents)
    say(f"==> Loading {load(documents, example.folder / 'data')} into MongoDB")

    routes = example.folder / "tsync.yaml"
    shown = Path(*routes.parts[-3:])
    say(f"==> Starting the worker: ROUTES_FILE={shown} faust -A tsync_stream worker")
    # A transform is a function of a module beside the file, as it would be in a project of one's own.
    modules = os.pathsep.join(filter(None, (str(example.folder), os.environ.get("PYTHONPATH"))))
    worker = Worker(settings, {**servers, "ROUTES_FILE": str(routes), "PYTHONPATH": modules})
    closing.callback(worker.stop)
    worker.start()

    base = f"http://{servers['TYPESENSE_HOST']}:{servers['TYPESENSE_PORT']}"
    key = {"X-TYPESENSE-API-KEY": servers["TYPESENSE_API_KEY"]}
    typesense = closing.enter_context(httpx.Client(base_url=base, headers=key, timeout=_TIMEOUT_S, trust_env=False))
    running = Running(documents, typesense, worker)
    for collection, count in example.loaded.items():
        running.wait_until_loaded(collection, count)
    say(f"==> Typesense has {listed(example.loaded)}")
    example.story(running)
    running.wait_until_healthy()
    if stay:
        say("\nSearch by yourself, and write to " + servers["MONGODB_URI"] + "; Ctrl-C ends everything.")
        for search in running.searches.values():
            say(
                f"  curl -H 'X-TYPESENSE-API-KEY: {servers['TYPESENSE_API_KEY']}' {shlex.quote(base + address(search))}"
            )
        while True:  # a signal that arrives just before a wait without end would end nothing
            time.sleep(_STAY_S)


def load(documents: Documents, folder: Path) -> str:
    """Insert the documents of each file, which are lines of MongoDB's extended JSON; returns what was loaded."""
    counts = {}
    for path in sorted(folder.glob("*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines()
        counts[path.stem] = len(documents[path.stem].insert_many(map(json_util.loads, lines)).inserted_ids)
    return listed(counts)


def listed(counts: Mapping[str, int]) -> str:
    """`3 sellers and 20 products`."""
    parts = [f"{count} {name}" for name, count in counts.items()]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def address(search: Search) -> str:
    """The path and the query of a search."""
    asked = urlencode({"per_page": _MOST_HITS, **search.parameters}, safe=",:()[]*")
    return f"/collections/{search.collection}/documents/search?{asked}"


def found_ids(answer: Mapping[str, Any]) -> list[str]:
    """The ids of the documents that were found, the best first."""
    return [hit["document"]["id"] for hit in answer["hits"]]


def shown_lines(search: Search, answer: Mapping[str, Any]) -> Sequence[str]:
    """One line for each document and each facet of an answer."""
    width = max(map(len, found_ids(answer)), default=0)
    lines = [f"{hit['document']['id']:{width}}  {search.line(hit['document'])}" for hit in answer["hits"]]
    for facet in answer.get("facet_counts", ()):
        values = ", ".join(f"{each['value']} {each['count']}" for each in facet["counts"])
        lines.append(f"[{facet['field_name']}: {values}]")
    return lines


def say(text: str) -> None:
    """One line for people, at once."""
    print(text, flush=True)
