"""A deployment of several plain routes: its `tsync.yaml`, its source collections, and each route's full comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection

from tests.support.comparison import actual_documents, difference, wait_until_equal
from tests.support.stack import Names
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack

Place = tuple[str, str]


class ManyRoutes:
    """Routes by name, each with its source. `near` and `far` are two databases of the test."""

    def __init__(
        self, stack: EmbeddedStack, names: Names, client: MongoClient[dict[str, Any]], directory: Path
    ) -> None:
        self.near, self.far = names.database, f"{names.token}_far"
        self.file = directory / "routes.yaml"
        self._stack = stack
        self._names = names
        self._client = client
        self._places: dict[str, Place] = {}

    def declare(self, sources: Mapping[str, Place], *, create: bool = True) -> None:
        """Write the file: a route for each name, from its source to a Typesense collection of its name."""
        lines = ["routes:"]
        for name, (database, collection) in sources.items():
            lines += [f"  {name}:", f"    source: {database}.{collection}", f"    target: {self.target(name)}"]
            if create and collection not in self._client[database].list_collection_names():
                self._client[database].create_collection(collection)
        self.file.write_text("\n".join(lines) + "\n")
        self._places = dict(sources)

    def settings(self) -> dict[str, str]:
        """What a worker is started with."""
        return {"ROUTES_FILE": str(self.file)}

    def target(self, route: str) -> str:
        """The Typesense collection of a route."""
        return f"{self._names.token}_{route}"

    def source(self, route: str) -> Collection[dict[str, Any]]:
        """The source of a route."""
        database, collection = self._places[route]
        return self._client[database][collection]

    def wait_until_equal(self, *routes: str, timeout_s: float = 30.0) -> None:
        """Wait until these routes show what their sources hold; all of them if none is named."""
        for route in routes or self._places:
            wait_until_equal(self._stack, self._names_of(route), timeout_s=timeout_s)

    def shown(self, route: str) -> dict[str, dict[str, Any]]:
        """What a route shows, by id."""
        return actual_documents(self._stack, self._names_of(route))

    def is_equal(self, route: str) -> bool:
        """Whether a route shows what its source holds."""
        return not difference(self._stack, self._names_of(route))

    def _names_of(self, route: str) -> Names:
        database, collection = self._places[route]
        return replace(self._names, database=database, collection=collection, typesense_collection=self.target(route))


def needs(stored: Mapping[str, Any]) -> dict[str, str]:
    """The open reconciles in an epoch document: by route, their jobs."""
    return {route["name"]: route["reconcile"]["job"] for route in stored.get("routes", []) if route["reconcile"]}


def suspended(stored: Mapping[str, Any]) -> set[str]:
    """The suspended routes in an epoch document."""
    return {route["name"] for route in stored.get("routes", []) if route["suspended"]}


def done_reconciles(jobs: Collection[dict[str, Any]]) -> Sequence[str]:
    """The routes of all reconciles that have been done, each as often as it was."""
    return sorted(job["route"] for job in jobs.find({"kind": "reconcile", "status": "done"}))


def wait_for_reconciles(jobs: Collection[dict[str, Any]], *routes: str) -> None:
    """Wait until these reconciles, and no others, have been done."""
    wait_for(
        lambda: list(done_reconciles(jobs)) == sorted(routes),
        40.0,
        lambda: f"reconciled were {done_reconciles(jobs)}, not {sorted(routes)}",
    )
