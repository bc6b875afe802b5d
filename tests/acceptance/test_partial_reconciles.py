"""Partial reconciles on real servers: what they write again, and only that; interrupted, paused, limited, refused.

What only a reconcile repairs is planted in Typesense behind the worker's back: a document that shows a marked title.
"""

import time
from collections.abc import Iterable
from typing import Any

import httpx
import orjson
import pytest
from bson.objectid import ObjectId

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.listings import listings
from tests.support.stack import Names, typesense_client
from tests.support.waiting import holds_for, wait_for
from tests.support.worker import Worker
from tsync_stream.core.keys import typesense_id
from tsync_stream.embedded import EmbeddedStack

TOKEN = "a-token-of-this-test"
PLANTED = "planted"
# `12` and `"12"` share an id, so only the number is shown.
KEYS: list[Any] = [12, "13", 14.5, ObjectId("65a1b2c3d4e5f60718293a4b"), True, {"a": 1}, "plain"]


def plant(stack: EmbeddedStack, names: Names, keys: Iterable[Any]) -> None:
    """Change these documents in Typesense alone."""
    with typesense_client(stack) as client:
        for key in keys:
            document = {"id": typesense_id(key), "title": PLANTED}
            path = f"/collections/{names.typesense_collection}/documents"
            client.post(path, params={"action": "emplace"}, json=document).raise_for_status()


def planted(stack: EmbeddedStack, names: Names) -> set[str]:
    """The ids that still show what was planted."""
    with typesense_client(stack) as client:
        answer = client.get(f"/collections/{names.typesense_collection}/documents/export").raise_for_status()
        shown = [orjson.loads(line) for line in answer.text.splitlines()]
    return {each["id"] for each in shown if each.get("title") == PLANTED}


def begin(worker: Worker, state: State) -> None:
    worker.start()
    state.wait_until_reconciled()


def ids_of(keys: Iterable[Any]) -> set[str]:
    return {typesense_id(key) for key in keys}


def test_only_what_matches_or_is_listed_is_written_again(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    source.insert_many([{"_id": key, "title": "as it is", "n": number % 2} for number, key in enumerate(KEYS)])
    begin(worker, state)
    equal()
    plant(stack, names, [*KEYS, "nowhere"])

    done = worker.run_command("reconcile", source.name, "--filter", '{"n": {"$gt": 0}}', "--wait", "--json")
    assert done.returncode == 0, done.stderr
    (job,) = orjson.loads(done.stdout)["jobs"]
    assert job["result"] == {"looked_at": 7, "queued": 3, "refused": 0, "refused_by_reason": {}}
    assert planted(stack, names) == ids_of([*KEYS[::2], "nowhere"])

    listed = worker.directory / "ids"
    listed.write_text('12\n{"$oid": "65a1b2c3d4e5f60718293a4b"}\n"13"\nnowhere\nnor this\n')
    done = worker.run_command("reconcile", "--ids", str(listed), "--wait")
    assert done.returncode == 0, done.stderr
    assert "Done: 5 documents queued" in done.stdout
    assert planted(stack, names) == ids_of([14.5, True, "plain"])
    plant(stack, names, [True])
    done = worker.run_command("reconcile", "--filter", '{"_id": {"$in": [true, 14.5, "plain"]}}', "--wait")
    assert done.returncode == 0, done.stderr
    equal()
    assert state.cursors() == [] or not [each for each in state.cursors() if each["job"] == job["job"]]


def test_12_and_the_text_12_are_one_id_and_the_first_of_them_is_shown(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State
) -> None:
    source.insert_many([{"_id": 12, "title": "the number"}, {"_id": "12", "title": "the text"}])
    begin(worker, state)
    for line in ("12", '"12"', '{"$numberInt": "12"}'):
        plant(stack, names, [12])
        listed = worker.directory / "ids"
        listed.write_text(f"{line}\n")
        done = worker.run_command("reconcile", "--ids", str(listed), "--wait")
        assert done.returncode == 1, "the text is refused: it shares its id"
        with typesense_client(stack) as client:
            shown = client.get(f"/collections/{names.typesense_collection}/documents/12").json()
        assert shown["title"] == "the number", line


def test_what_is_wrong_is_named_at_once_and_nothing_is_filed(source: Source, worker: Worker, state: State) -> None:
    source.insert_many(listings(3))
    begin(worker, state)
    listed = worker.directory / "ids"
    listed.write_text('good\n""\n{"$oid": "x"}\n')
    for arguments, words in (
        (("--filter", '{"a": {"$date": 1, "b": 2}, "$near": 1}'), "$near"),
        (("--filter", '{"a": {"$regex": "("}}'), "MongoDB refuses it"),
        (("--filter", '{"a": 1}', "--ids", "-"), "not with both"),
        (("--ids", str(listed)), "line 3"),
        (("nowhere", "--filter", '{"a": 1}'), "There is no route nowhere"),
        (("--pause", "--wait"), "no other option"),
    ):
        refused = worker.run_command("reconcile", *arguments)
        assert (refused.returncode, words in refused.stderr) == (2, True), (arguments, refused.stderr)
    assert state.jobs.count_documents({"kind": "partial reconcile"}) == 0


@pytest.mark.timeout(600)
def test_it_survives_kill_9_and_a_pause_survives_a_restart(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    worker.environment["API_TOKEN"] = TOKEN
    source.insert_many([{"_id": number, "title": "as it is", "n": number % 2} for number in range(2_000)])
    begin(worker, state)
    plant(stack, names, range(1, 2_000, 40))
    filed = worker.run_command("reconcile", "--filter", '{"n": 1}', "--rate", "100")
    assert filed.returncode == 0, filed.stderr
    name = state.job()["_id"]

    def queued() -> int:
        return int(state.job()["progress"].get("queued", 0))

    wait_for(lambda: queued() >= 100, 30.0, "it does not begin")
    worker.kill()
    assert state.job()["status"] == "open"
    worker.start()
    at_first = queued()
    wait_for(lambda: queued() > at_first, 30.0, "it does not go on")

    paused = worker.run_command("reconcile", "--pause")
    assert (paused.returncode, f"Paused: partial reconcile of {source.name} {name}" in paused.stdout) == (0, True)

    def tells() -> bool:
        problems = [problem["text"] for problem in worker.health()["problems"]]
        shown = worker.metrics().get('tsync_jobs_open{kind="partial reconcile",phase="paused"}') == 1
        return shown and any(f"partial reconcile {name}" in text for text in problems)

    wait_for(tells, 10.0, lambda: f"{worker.health()['problems']}")
    stopped_at = queued()
    assert worker.stop() == 0
    worker.start()
    worker.wait_until_capturing()
    wait_for(tells, 20.0, lambda: f"{worker.health()['problems']}")
    holds_for(lambda: queued() <= stopped_at, 2.0, "it goes on although it is paused")
    assert stopped_at < 1_000
    assert "paused by a person" in worker.run_command("status").stdout
    # Live changes, and other jobs of the route, go on.
    source.insert_one({"_id": "live", "title": "as it is"})
    assert worker.run_command("reconcile", "--ids", "/dev/null").returncode == 2
    done = worker.run_command("reconcile", "--filter", '{"_id": "live"}', "--wait")
    assert done.returncode == 0, done.stderr
    state.jobs.delete_one({"_id": {"$ne": name}, "kind": "partial reconcile"})

    assert act(worker, name, "resume") == {"job": name, "paused": False}
    result = state.wait_for_job()
    assert (result["looked_at"], result["queued"]) == (2_001, 1_000)
    equal()


def act(worker: Worker, job: str, action: str) -> Any:
    """As the dashboard does it."""
    address = f"http://127.0.0.1:{worker.port}/api/v1/jobs/{job}/{action}"
    assert httpx.post(address, json={}, timeout=10.0).status_code == 401, "without the token"
    answer = httpx.post(address, json={}, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10.0)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.timeout(600)
def test_a_first_load_keeps_its_rate_and_waits_while_it_is_paused(
    source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    source.insert_many([{"_id": number, "title": "as it is"} for number in range(4_000)])
    # Slow enough to be steered.
    worker.environment |= {"API_TOKEN": TOKEN, "TYPESENSE_MAX_RATE": "500"}
    worker.launch()
    wait_for(lambda: bool(state.pipeline()), 30.0, "no pipeline")
    (route,) = state.pipeline()["routes"]
    worker.wait_until_started()
    assert act(worker, route["reconcile"]["job"], "pause")["paused"]

    def queued() -> int:
        status = orjson.loads(worker.run_command("status", "--json").stdout)
        return int(status["reconcile"]["synced"]) if status["reconcile"] else 4_000

    def says() -> bool:
        found = {problem["check"]: problem["text"] for problem in worker.health()["problems"]}
        return "paused by a person" in found.get(f"reconciling {source.name}", "")

    wait_for(says, 10.0, lambda: f"{worker.health()}")
    assert worker.health()["status"] == "degraded"
    assert worker.run_command("reconcile", "--rate", "200").returncode == 0
    stopped_at = queued()
    assert stopped_at < 4_000, "it is paused, so not all can be queued"
    assert worker.run_command("reconcile", "--resume").returncode == 0
    wait_for(lambda: queued() > stopped_at, 30.0, "it does not go on")
    before, began_s = queued(), time.monotonic()
    wait_for(lambda: queued() >= min(4_000, before + 1_000), 30.0, "it is too slow")
    per_s = (queued() - before) / (time.monotonic() - began_s)
    # How slow it may be, this machine decides. Barriers tell about once a second how far it is.
    assert per_s < 260
    assert worker.run_command("reconcile", "--rate", "100000").returncode == 0
    state.wait_until_reconciled()
    equal()
