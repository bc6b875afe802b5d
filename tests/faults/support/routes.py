"""A trial of three routes of different shapes over a catalogue: replicas under load, a fault, and finally Z and M.

Z: once writes have stopped, every route shows what MongoDB's own aggregation says. M: no listing, and no seller that a
listing shows, ever stepped back, except where the pipeline knew that the listing's last write was in doubt.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tests.faults.support.cluster import Cluster
from tests.faults.support.report import Row
from tests.support.catalogue import Catalogue, expected, prepare, routes_file, targets
from tests.support.stack import Names, is_reconciled, mongo_client, typesense_client
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.state.database import RECHECKS

_LOOK_INTERVAL_S = 0.3


def shown(typesense: httpx.Client, collection: str, fields: str = "") -> dict[str, dict[str, Any]]:
    """What Typesense shows of a collection, by id; empty while it is missing."""
    answer = typesense.get(
        f"/collections/{collection}/documents/export", params={"include_fields": fields} if fields else {}, timeout=60.0
    )
    if answer.status_code == 404:
        return {}
    documents = [orjson.loads(line) for line in answer.raise_for_status().content.splitlines() if line]
    return {document["id"]: document for document in documents}


class SellerWatch:
    """M: looks from its own thread whether a listing, or the seller that it shows, gets older."""

    def __init__(self, typesense: httpx.Client, collection: str) -> None:
        self._typesense = typesense
        self._collection = collection
        self._newest: dict[tuple[str, str], int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="seller watch", daemon=True)
        self.looks = 0
        self.steps_back: list[tuple[str, str]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Looks as long as the block lasts, and once more at its end."""
        self._thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_INTERVAL_S):
            try:
                self._look()
            except (httpx.HTTPError, orjson.JSONDecodeError):
                continue  # down, frozen or starting: nothing was seen

    def _look(self) -> None:
        for name, document in shown(self._typesense, self._collection, "id,version,seller_id,seller").items():
            parts = {"": document["version"]}
            if "seller" in document:
                parts[document["seller_id"]] = document["seller"]["version"]
            for part, version in parts.items():
                newest = self._newest.get((name, part), 0)
                if version < newest:
                    what = f"seller {part}" if part else "itself"
                    self.steps_back.append((name, f"{name}: {what} went from {newest} back to {version}"))
                self._newest[name, part] = max(version, newest)
        self.looks += 1


class RoutesTrial:
    """Servers, replicas with the routes file, load and watch of one test."""

    def __init__(self, stack: EmbeddedStack, names: Names, directory: Path, least_replicas: int, listings: int) -> None:
        self.stack = stack
        self.names = names
        self.targets = targets(names)
        self.cluster = Cluster(stack, names, directory)
        # All listings have the wide category: its change must lead to a refresh, however few they are.
        inline = str(min(1_000, listings // 4))
        self.cluster.settings |= {"ROUTES_FILE": str(routes_file(names, directory)), "FAN_OUT_INLINE": inline}
        self.row = Row("", 0)
        self.z_timeout_s = 60.0
        self.listings = listings
        self._least_replicas = least_replicas
        self.load: Catalogue
        self._client: MongoClient[dict[str, Any]]
        self._typesense: httpx.Client

    @property
    def database(self) -> Database[dict[str, Any]]:
        """The source database."""
        return self._client[self.names.database]

    @property
    def state(self) -> Database[dict[str, Any]]:
        """The state database."""
        return self._client[self.names.state_database]

    @contextmanager
    def under_load(self, fault: str, seed: int, *, replicas: int = 1) -> Iterator["RoutesTrial"]:
        """The block is the fault, with everything filled and running. At its end writes stop, and Z and M must hold."""
        self.row.fault, self.row.seed = fault, seed
        with ExitStack() as resources:
            self._client = resources.enter_context(mongo_client(self.stack))
            resources.callback(self.cluster.end)
            self._typesense = resources.enter_context(typesense_client(self.stack))
            prepare(self.database)
            self.load = Catalogue(self.stack.mongo.uri, self.names.database, seed, listings=self.listings)
            self.load.fill()
            try:
                self._run_replicas(max(replicas, self._least_replicas))
                watch = SellerWatch(self._typesense, self.targets["listings"])
                with watch.running():
                    with self.load.running():
                        yield self
                    over_s = time.monotonic()
                    self.wait_for_z()
                    self.row.recovery_s = time.monotonic() - over_s
                self._check(watch)
            except BaseException:
                print(self.cluster.log())
                raise
            finally:
                self.row.replicas, self.row.operations = len(self.cluster.replicas), self.load.operations
                with suppress(PyMongoError):
                    self.row.epochs = int(self.pipeline().get("epoch", 1)) - 1
        self.row.result = "held"

    def _run_replicas(self, count: int) -> None:
        self.cluster.add(count)
        self.cluster.wait_until_shared()
        wait_for(lambda: is_reconciled(self.pipeline()), 120.0, "the first load is not done")
        self.wait_for_z()

    def _check(self, watch: SellerWatch) -> None:
        self.row.looks, self.row.steps_back = watch.looks, len(watch.steps_back)
        assert watch.looks > 0, "M was never checked"
        # What a dead owner had sent may land late; only what the pipeline itself stored as in doubt is excused.
        stored = {"ns": f"{self.names.state_database}.{RECHECKS}", "op": "i"}
        in_doubt = {str(entry["o"]["key"]) for entry in self._client.local["oplog.rs"].find(stored)}
        steps = [step for name, step in watch.steps_back if name not in in_doubt]
        assert not steps, f"stepped back: {', '.join(steps[:5])}"
        assert self.state.dead_letters.count_documents({}) == 0, "dead letters"

    def pipeline(self) -> dict[str, Any]:
        """The epoch document; empty before the first start."""
        return self.state.pipeline.find_one({"_id": "pipeline"}) or {}

    def wait_for_z(self) -> None:
        """Wait until every route shows what it should."""
        differs = "nothing compared yet"

        def equal() -> bool:
            nonlocal differs
            differs = self._difference()
            return not differs

        wait_for(equal, self.z_timeout_s, lambda: differs)

    def _difference(self) -> str:
        """What differs first, by route; "" if nothing does."""
        for route, should in expected(self.database).items():
            found = shown(self._typesense, self.targets[route])
            if missing := should.keys() - found.keys():
                return f"{route}: {len(missing)} documents are missing, for one {min(missing)}"
            if extra := found.keys() - should.keys():
                return f"{route}: {len(extra)} documents too many, for one {min(extra)}"
            different = [name for name, document in should.items() if found[name] != document]
            if different:
                name = different[0]
                return f"{route}: {len(different)} differ, for one {name}: {found[name]} instead of {should[name]}"
        return ""
