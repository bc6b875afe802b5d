"""What the product has stored in its state database, as a test reads it."""

from typing import Any

from pymongo.database import Database

from tests.support.stack import is_reconciled
from tests.support.waiting import wait_for


class State:
    """The state database of one test's deployment."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self.letters = database.dead_letters
        self.jobs = database.jobs
        self.rechecks = database.rechecks
        self._database = database

    def forget(self) -> None:
        """Lose everything, so that the next start is a first start."""
        self._database.client.drop_database(self._database.name)

    # ---- the pipeline ----

    def pipeline(self) -> dict[str, Any]:
        """The epoch document; empty before the first start."""
        return self._database.pipeline.find_one({"_id": "pipeline"}) or {}

    def epoch(self) -> int:
        """1 as long as nothing made the worker open another; a reconcile that a person asked for does not."""
        return int(self.pipeline()["epoch"])

    def marked(self) -> Any:
        """Up to which cluster time a marker in Typesense says that everything is synced; None before the first."""
        (route,) = self.pipeline()["routes"]
        return route["marked"]

    def barrier_records(self) -> list[dict[str, Any]]:
        """The last barrier that each partition's owner has recorded, with its position."""
        return list(self._database.pipeline.find({"position": {"$exists": True}}))

    def cursors(self) -> list[dict[str, Any]]:
        """The cursors of jobs that the barrier records carry."""
        return [cursor for record in self.barrier_records() for cursor in record["position"]["cursors"]]

    def wait_until_reconciled(self, epoch: int = 1) -> None:
        """Wait until this epoch is reached and no reconcile is open in it."""

        def done() -> bool:
            stored = self.pipeline()
            return is_reconciled(stored) and bool(stored["epoch"] >= epoch)

        wait_for(done, 40.0, lambda: f"epoch {epoch} is not reconciled: {self.pipeline()}")

    def wait_for_epoch(self, epoch: int, tier: str) -> None:
        """Wait until this epoch is current, on this tier."""

        def current() -> tuple[Any, Any]:
            stored = self.pipeline()
            return stored.get("epoch"), stored.get("tier")

        wait_for(lambda: current() == (epoch, tier), 30.0, lambda: f"not epoch {epoch} on {tier}, but {current()}")

    def verification(self) -> dict[str, Any]:
        """How far the background verification of the only route is; empty before its first page."""
        return self._database.verifications.find_one() or {}

    def forget_verification(self) -> None:
        """As if nothing had been verified yet."""
        self._database.verifications.delete_many({})

    # ---- dead letters and jobs ----

    def open_letters(self) -> list[dict[str, Any]]:
        """The open dead letters."""
        return list(self.letters.find({"status": "open"}))

    def wait_for_letters(self, count: int, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """Wait until exactly this many dead letters are open, and return them."""

        def shown() -> str:
            found = [(letter["key"], letter["reason"]) for letter in self.open_letters()]
            return f"{len(found)} dead letters instead of {count}: {found[:5]}"

        wait_for(lambda: self.letters.count_documents({"status": "open"}) == count, timeout_s, shown)
        return self.open_letters()

    def job(self) -> Any:
        """The only job that is not a reconcile."""
        (found,) = self.jobs.find({"kind": {"$ne": "reconcile"}})
        return found

    def wait_for_job(self, timeout_s: float = 120.0) -> Any:
        """Wait until the only job is done, and return its result."""
        wait_for(lambda: self.job()["status"] != "open", timeout_s, lambda: f"the job does not end: {self.job()}")
        job = self.job()
        assert job["status"] == "done", job
        return job["result"]
