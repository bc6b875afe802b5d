"""`on_change: reindex`: an edited file changes nothing that searches see, until a person applies it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Source
from tests.support.comparison import actual_documents
from tests.support.forked import ForkedWorker
from tests.support.stack import Names
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack

BOTH = [{"_id": f"{status}{number}", "status": status} for status in ("draft", "published") for number in range(20)]


class Shop(ForkedWorker):
    """A worker with one route, whose file changes while it runs."""

    def declare(self, status: str, **route: Any) -> None:
        """Show the documents with this status."""
        declared = {
            "source": f"{self.names.database}.{self.names.collection}",
            "target": self.names.typesense_collection,
            "filter": {"status": status},
            **route,
        }
        file = self.directory / "routes.yaml"
        file.with_suffix(".new").write_text(json.dumps({"routes": {"listings": declared}}))
        file.with_suffix(".new").replace(file)

    @property
    def names(self) -> Names:
        """The test's names."""
        return self._names

    def prepare(self, names: Names) -> None:
        """Before it starts."""
        self._names = names
        self.environment["ROUTES_FILE"] = str(self.directory / "routes.yaml")

    def problem(self) -> str:
        """What health says of the route's view; "" if it is green."""
        return next((each["text"] for each in self.health()["problems"] if each["check"] == "view listings"), "")


@pytest.fixture
def shop(stack: EmbeddedStack, names: Names, source: Source, tmp_path: Path) -> Iterator[Shop]:
    worker = Shop(stack, names, tmp_path)
    worker.prepare(names)
    try:
        yield worker
    finally:
        if worker.running:
            worker.kill()
        print(f"--- the end of the worker's log ---\n{worker.log()[-8000:]}")


def test_a_changed_view_waits_until_it_is_applied(
    stack: EmbeddedStack, names: Names, source: Source, shop: Shop
) -> None:
    def shows(status: str) -> None:
        wanted = {each["_id"] for each in source.find({"status": status})}
        wait_for(lambda: actual_documents(stack, names).keys() == wanted, 40.0, lambda: f"not all {status}")

    source.insert_many(BOTH)
    shop.declare("published", on_change="reindex")
    shop.start()
    shows("published")
    shop.declare("draft", on_change="reindex")
    wait_for(lambda: "filter" in shop.problem(), 30.0, lambda: str(shop.health()["problems"]))
    assert shop.health()["status"] == "degraded"
    source.insert_many([{"_id": "published, later", "status": "published"}, {"_id": "draft, later", "status": "draft"}])
    source.update_one({"_id": "draft0"}, {"$set": {"status": "published"}})
    shows("published")
    planned = json.loads(shop.run_command("plan", "--json").stdout)
    (action,) = planned["actions"]
    assert (action["kind"], action["route"]) == ("reindex", "listings")
    assert action["reasons"] == ["filter: the live collection is written by what was declared of it before"]
    # A restart knows it, too.
    assert shop.stop() == 0
    source.insert_one({"_id": "published, last", "status": "published"})
    shop.start()
    shows("published")
    assert "filter" in shop.problem()
    # Applied, it is built beside the live collection, and then shown.
    done = json.loads(shop.run_command("apply", "--yes", "--json").stdout)
    assert [each["done"] for each in done["actions"]] == [True], done
    wait_for(lambda: not shop.problem(), 30.0, shop.problem)
    shows("draft")
    source.insert_many([{"_id": "draft, at last", "status": "draft"}, {"_id": "x", "status": "published"}])
    shows("draft")
    done = json.loads(shop.run_command("apply", "--yes", "--json").stdout)
    assert done == {"ok": True, "actions": []}
    assert "A reindex of route listings is open" in shop.run_command("apply").stdout


def test_without_the_line_the_file_is_followed_again(
    stack: EmbeddedStack, names: Names, source: Source, shop: Shop
) -> None:
    def shows(status: str) -> None:
        wanted = {each["_id"] for each in source.find({"status": status})}
        wait_for(lambda: actual_documents(stack, names).keys() == wanted, 40.0, lambda: f"not all {status}")

    source.insert_many(BOTH)
    shop.environment["MASS_DELETE_SHARE"] = "1"
    shop.declare("published")
    shop.start()
    shows("published")
    # Together with another change, it holds the view of before.
    shop.declare("draft", on_change="reindex")
    wait_for(lambda: "filter" in shop.problem(), 30.0, lambda: str(shop.health()["problems"]))
    shows("published")
    shop.declare("draft")
    shows("draft")
    wait_for(lambda: not shop.problem(), 30.0, shop.problem)
    # What is held from now on is what was followed meanwhile, not what was stored before.
    shop.declare("published", on_change="reindex")
    wait_for(lambda: "filter" in shop.problem(), 30.0, lambda: str(shop.health()["problems"]))
    shows("draft")
