"""A worker's log: no secret and no content in any line, in any format, and few lines however long an outage lasts."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.comparison import wait_until_equal
from tests.support.forked import ForkedWorker, be_faust
from tests.support.stack import Names, mongo_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker, free_port
from tsync_stream.core.events import EVENTS
from tsync_stream.embedded import EmbeddedStack

SECRETS = {
    "PRIMARY_REDIS_PASSWORD": "s3cret-of-primary",
    "BACKUP_REDIS_PASSWORD": "s3cret-of-backup",
    "TYPESENSE_API_KEY": "s3cret-of-typesense",
}
CONTENT = "c0ntent"
HOUR_S = 3600.0
# An hour of the log's clock passes in this time of the machine's.
REAL_S = 12.0


def lines_of(worker: Worker) -> list[dict[str, Any]]:
    """The JSON lines; what is no JSON is the banner, which ends before the first of them."""
    text = worker.log()
    return [json.loads(line) for line in text[text.index("\n{") :].splitlines() if line]


def everything_printed(worker: Worker, commands: Mapping[str, list[str]]) -> str:
    """The log, the pages, and what commands print."""
    pages = [httpx.get(f"http://127.0.0.1:{worker.port}{page}", timeout=10).text for page in ("/health", "/metrics")]
    printed = [run.stdout + run.stderr for run in (worker.run_command(*each) for each in commands.values())]
    return "\n".join([worker.log(), *pages, *printed])


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_line_has_content_when_documents_are_synced_and_refused(
    stack: EmbeddedStack, names: Names, tmp_path: Path, log_format: str
) -> None:
    documents: list[dict[str, Any]] = [{"_id": f"{number}", "title": f"{CONTENT}-{number}"} for number in range(20)]
    documents.append({"_id": "refused", "title": f"{CONTENT}-refused", "ratio": float("nan")})
    with mongo_client(stack) as client:
        source = client[names.database][names.collection]
        source.insert_many(documents)
        with ForkedWorker(stack, names, tmp_path, LOG_LEVEL="DEBUG", LOG_FORMAT=log_format) as worker:
            wait_until_equal(stack, names, ignoring=frozenset(["refused"]))
            source.update_one({"_id": "1"}, {"$set": {"title": f"{CONTENT}-changed"}})
            source.delete_one({"_id": "2"})
            wait_until_equal(stack, names, ignoring=frozenset(["refused"]))
            wait_for(lambda: "dead letters" in worker.log(), 30.0, "the refused document is not in the log")
            printed = everything_printed(worker, {"status": ["status"], "check": ["check", "--json"]})
            if log_format == "json":
                check_lines(lines_of(worker))
    assert CONTENT not in printed
    assert stack.environment()["TYPESENSE_API_KEY"] not in printed


def check_lines(lines: list[dict[str, Any]]) -> None:
    """Each line has what docs/logs.md says of every line, and Faust's lines are among them."""
    for line in lines:
        assert {"timestamp", "level", "event", "message", "logger", "part"} <= line.keys()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
        assert line["event"] in EVENTS
    assert {"library", "leases.taken", "reconcile.done", "health.not_green"} <= {line["event"] for line in lines}
    replicas = {line["replica"] for line in lines if line["event"] == "leases.taken"}
    assert len(replicas) == 1


def test_no_line_has_a_secret_when_every_server_refuses_it(stack: EmbeddedStack, names: Names, tmp_path: Path) -> None:
    uri = stack.mongo.uri.replace("mongodb://", "mongodb://user:s3cret-of-mongodb@")
    wrong = {**SECRETS, "MONGODB_URI": uri}
    with ForkedWorker(stack, names, tmp_path, **wrong, LOG_LEVEL="DEBUG", LOG_FORMAT="json") as worker:
        wait_for(lambda: "its user or password is refused" in worker.log(), 30.0, "MongoDB does not refuse")
        printed = everything_printed(worker, {name: [name] for name in ("status", "check")})
    assert "MONGODB_URI" in printed
    assert "s3cret" not in printed


def an_hour_passes() -> None:
    """The program of a worker whose log believes that an hour passes in `REAL_S`, and logs what it would hold back."""
    from tsync_stream.core import quiet

    begin_s = time.monotonic()
    fast = quiet.Quiet.__init__

    def faster(self: quiet.Quiet, emit: Any, now_s: Any = None) -> None:
        fast(self, emit, lambda: begin_s + (time.monotonic() - begin_s) * HOUR_S / REAL_S)

    quiet.Quiet.__init__ = faster  # type: ignore[method-assign]
    be_faust()


def test_an_outage_of_an_hour_gives_tens_of_lines(stack: EmbeddedStack, names: Names, tmp_path: Path) -> None:
    """All servers are away: a line that came every second would be thousands; its rare repetitions are few."""
    away = str(free_port())
    nowhere = {
        "MONGODB_URI": f"mongodb://127.0.0.1:{away}/?serverSelectionTimeoutMS=500",
        "TYPESENSE_PORT": away,
        "PRIMARY_REDIS_PORT": away,
        "BACKUP_REDIS_PORT": away,
    }
    worker = ForkedWorker(stack, names, tmp_path, an_hour_passes, **nowhere, LOG_FORMAT="json")
    with worker:
        time.sleep(REAL_S)  # the outage: nothing is waited for but its length
        lines = lines_of(worker)
    assert any(line["event"] == "health.not_green" for line in lines)
    assert len(lines) < 100
