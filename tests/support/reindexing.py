"""A deployment of one route that is reindexed: its `tsync.yaml`, the command, what is stored, and searches."""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from pymongo.database import Database

from tests.support.stack import Names, detecting_schema, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.sink.markers import SYNONYM

ROUTE = "listings"
# Listings with numbers from here on are left alone by a load.
UNTOUCHED = 100_000
# Typesense's own words for the schema of before, and for one that a live collection could not be changed to.
PLAIN: Sequence[dict[str, Any]] = ({"name": ".*", "type": "auto"},)
FACETED: Sequence[dict[str, Any]] = (
    {"name": "number", "type": "int64", "facet": True, "optional": True},
    {"name": "title", "type": "string", "optional": True},
    {"name": ".*", "type": "auto"},
)


class Reindexed:
    """The route `listings`, whose target is the alias of the test's collection."""

    def __init__(self, stack: EmbeddedStack, names: Names, worker: Worker, state: Database[dict[str, Any]]) -> None:
        self.target = names.typesense_collection
        self.worker = worker
        self._stack = stack
        self._names = names
        self._state = state

    def begin(self, *, alias: bool = True) -> None:
        """Declare the route with a plain schema. Its empty collection exists, behind an alias or under its own name."""
        self.declare(PLAIN)
        first = f"{self.target}_1" if alias else self.target
        with typesense_client(self._stack) as typesense:
            schema = {**detecting_schema(first), "symbols_to_index": ["+"]}
            typesense.post("/collections", json=schema).raise_for_status()
            if alias:
                self.show(first)

    def declare(self, fields: Sequence[dict[str, Any]], more: str = "") -> None:
        """Write the file, with these fields of a schema."""
        schema = orjson.dumps({"fields": list(fields)}).decode()
        lines = [
            "routes:",
            f"  {ROUTE}:",
            f"    source: {self._names.database}.{self._names.collection}",
            f"    target: {self.target}",
            f"    schema: {schema}",
        ]
        (self.worker.directory / "tsync.yaml").write_text("\n".join([*lines, more]) + "\n", encoding="utf-8")

    # ---- the command ----

    def reindex(self, *options: str, timeout_s: float = 180.0) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        return self.worker.run_command("reindex", ROUTE, *options, timeout_s=timeout_s)

    def reindex_well(self, *options: str, timeout_s: float = 180.0) -> dict[str, Any]:
        """Run the command, which succeeds; returns what it printed as JSON."""
        done = self.reindex("--json", *options, timeout_s=timeout_s)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = orjson.loads(done.stdout)
        return found

    # ---- what is stored ----

    def stored(self) -> dict[str, Any]:
        """The document of the route; empty before the first reindex."""
        return self._state.generations.find_one({"_id": ROUTE}) or {}

    def phase(self) -> str:
        """The phase of the open reindex; "" if none is open."""
        reindex = self.stored().get("reindex") or {}
        return str(reindex.get("phase", ""))

    def wait_for_phase(self, *phases: str, timeout_s: float = 60.0) -> None:
        """Wait until the reindex is in one of these; "" is that none is open."""
        wait_for(lambda: self.phase() in phases, timeout_s, lambda: f"not in {phases}: {self.stored()}")

    def wait_for_route(self, name: str) -> None:
        """Wait until the pipeline knows a route of this name."""
        wait_for(lambda: name in self.routes(), 60.0, lambda: f"{name} is not among {self.routes()}")

    def routes(self) -> list[str]:
        """The routes of the pipeline."""
        pipeline = self._state.pipeline.find_one({"_id": "pipeline"}) or {"routes": []}
        return [route["name"] for route in pipeline["routes"]]

    def kept_of(self, route: str) -> dict[str, int]:
        """How much the state database has of a route."""
        by_route = ("dead_letters", "jobs", "rechecks", "refreshes")
        return {name: self._state[name].count_documents({"route": route}) for name in by_route}

    # ---- Typesense ----

    def show(self, collection: str) -> None:
        """Have the alias show a collection, as a person could."""
        with typesense_client(self._stack) as typesense:
            typesense.put(f"/aliases/{self.target}", json={"collection_name": collection}).raise_for_status()

    def shown(self) -> str:
        """The collection that searches find; "" if there is none."""
        with typesense_client(self._stack) as typesense:
            answer = typesense.get(f"/collections/{self.target}")
            return str(answer.json()["name"]) if answer.is_success else ""

    def add_synonym(self, name: str, *words: str) -> None:
        """To the collection that searches find."""
        with typesense_client(self._stack) as typesense:
            path = f"/collections/{self.shown()}/synonyms/{name}"
            typesense.put(path, json={"synonyms": list(words)}).raise_for_status()

    def synonyms(self) -> set[str]:
        """The names of its synonyms, but for our own mark."""
        with typesense_client(self._stack) as typesense:
            found = typesense.get(f"/collections/{self.shown()}/synonyms").raise_for_status().json()
        return {each["id"] for each in found["synonyms"]} - {SYNONYM}

    @contextmanager
    def preset(self, value: dict[str, Any]) -> Iterator[str]:
        """A preset of somebody's; gives its name."""
        name = f"{self._names.token}_near"
        with typesense_client(self._stack) as typesense:
            typesense.put(f"/presets/{name}", json={"value": value}).raise_for_status()
            yield name
            typesense.delete(f"/presets/{name}")

    def add_curation(self, name: str, query: str, document_id: str) -> None:
        """To the collection that searches find: a document that comes first when this is asked for."""
        rule = {"query": query, "match": "exact"}
        with typesense_client(self._stack) as typesense:
            path = f"/collections/{self.shown()}/overrides/{name}"
            body = {"rule": rule, "includes": [{"id": document_id, "position": 1}]}
            typesense.put(path, json=body).raise_for_status()

    def curations(self) -> set[str]:
        """The names of its curations."""
        with typesense_client(self._stack) as typesense:
            found = typesense.get(f"/collections/{self.shown()}/overrides").raise_for_status().json()
        return {each["id"] for each in found["overrides"]}

    def live(self) -> dict[str, Any]:
        """That collection, as Typesense describes it."""
        with typesense_client(self._stack) as typesense:
            found: dict[str, Any] = typesense.get(f"/collections/{self.target}").raise_for_status().json()
        return found

    def fields(self) -> dict[str, dict[str, Any]]:
        """The fields of that collection."""
        return {field["name"]: field for field in self.live()["fields"]}

    def collections(self) -> set[str]:
        """The collections whose names begin with the target's."""
        with typesense_client(self._stack) as typesense:
            found = typesense.get("/collections").raise_for_status().json()
        return {each["name"] for each in found if each["name"].startswith(self.target)}

    @contextmanager
    def searched(self) -> Iterator["Searches"]:
        """Search through the alias without a pause, as long as the block runs."""
        searches = Searches(self._stack, self.target)
        with searches.running():
            yield searches


class Searches:
    """Searches for the documents that no load touches. `found` has how many each found; `failed`, what went wrong.

    Typesense may find a document that is being written without being able to show it.
    """

    def __init__(self, stack: EmbeddedStack, target: str) -> None:
        self.found: list[int] = []
        self.failed: list[str] = []
        self._stack = stack
        self._target = target
        self._stopping = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Search as long as the block runs, and once more after it."""
        thread = threading.Thread(target=self._search_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()

    def _search_on(self) -> None:
        path = f"/collections/{self._target}/documents/search"
        asked = {"q": "*", "filter_by": f"number:>={UNTOUCHED}", "per_page": "5"}
        with typesense_client(self._stack) as typesense:
            while True:
                last = self._stopping.wait(0.01)
                answer = typesense.get(path, params=asked)
                seen = answer.json() if answer.is_success else {}
                if not answer.is_success or len(seen["hits"]) != 5:
                    self.failed.append(f"{answer.status_code}: {answer.text[:200]}")
                else:
                    self.found.append(seen["found"])
                if last:
                    return
