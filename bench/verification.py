"""How soon the background verification finds and repairs what was tampered with, and that it finds nothing else.

    python -m bench.verification [--documents 200000] [--rate 1000]

Documents change all the time meanwhile. One of each kind is planted in Typesense: missing, extra, a changed value, and
a value of another type. A pass over everything is to take the documents divided by VERIFY_RATE, and a little for those
that change meanwhile. The exit code is 1 if something else was found, or if both sides differ at the end.
"""

import argparse
import random
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import orjson

from bench.documents import KILOBYTE
from bench.measuring import CpuMeter, wait_until
from bench.surroundings import Surroundings, fresh
from tests.support.background import repeated
from tests.support.comparison import difference
from tests.support.worker import Worker

EXPECTED = {"missing": 1.0, "extra": 1.0, "different": 2.0}
CHANGES_PER_S = 50.0
_LONGEST_S = 3_600.0
_LOOK_S = 1.0
# Typesense stores a field that no schema names as it comes: there, a value may have another type.
_SCHEMA = {"fields": [{"name": "title", "type": "string", "optional": True}]}


def _changing(surroundings: Surroundings, keys: list[Any]) -> AbstractContextManager[None]:
    """Change the price of one document after the other, in no order, as long as the block runs."""
    chosen = random.Random(1)

    def change(number: int) -> None:
        time.sleep(1 / CHANGES_PER_S)
        surroundings.source.update_one({"_id": chosen.choice(keys)}, {"$set": {"price": number + 0.5}})

    return repeated(change)


def _plant(surroundings: Surroundings, keys: list[Any]) -> None:
    """Tamper with documents near the end, so that a pass finds them late."""
    path = f"/collections/{surroundings.names.typesense_collection}/documents"
    missing, value, type_ = (str(key) for key in keys[-3:])
    surroundings.typesense.delete(f"{path}/{missing}").raise_for_status()
    shown = surroundings.typesense.get(f"{path}/{type_}").raise_for_status().json()
    lines = [
        {**surroundings.typesense.get(f"{path}/{value}").json(), "title": "changed by hand"},
        {**shown, "rooms": str(shown["rooms"])},
        {"id": "from nowhere", "title": "extra"},
    ]
    body = b"\n".join(map(orjson.dumps, lines))
    answer = surroundings.typesense.post(f"{path}/import?action=upsert", content=body).raise_for_status()
    assert answer.text.count('"success":true') == len(lines), answer.text


def _drifted(worker: Worker) -> dict[str, float]:
    """How many documents were found to differ, by kind."""
    figures = worker.metrics()
    return {kind: figures.get(f'tsync_documents_drifted_total{{kind="{kind}"}}', 0.0) for kind in EXPECTED}


def _compared_since(worker: Worker) -> float:
    """Every document has been compared since then (Unix time); 0 before the first pass is complete."""
    return worker.metrics().get("tsync_verified_since_timestamp_seconds", 0.0)


def measure(documents: int, rate: int) -> bool:
    """Print how long it took; returns whether exactly what was planted was found, and both sides are equal."""
    with fresh() as surroundings, ExitStack() as resources:
        surroundings.insert(documents, KILOBYTE)
        schema = surroundings.directory / "schema.json"
        schema.write_bytes(orjson.dumps(_SCHEMA))
        settings = {"VERIFY_RATE": str(rate), "TYPESENSE_SCHEMA_FILE": str(schema)}
        worker = Worker(surroundings.stack, surroundings.names, surroundings.directory, **settings)
        resources.callback(worker.kill)
        worker.start()
        wait_until(lambda: _compared_since(worker) > 0, _LONGEST_S, "no complete pass", interval_s=_LOOK_S)
        keys = [document["_id"] for document in surroundings.source.find({}, {"_id": 1}).sort("_id", 1)]
        with _changing(surroundings, keys[:-3]):
            _plant(surroundings, keys)
            planted_s, planted_at = time.monotonic(), time.time()
            meter = CpuMeter({**surroundings.pids, "worker": worker.pid})
            wait_until(
                lambda: sum(_drifted(worker).values()) >= sum(EXPECTED.values()),
                _LONGEST_S,
                "not all is found",
                interval_s=_LOOK_S,
            )
            found_after_s = time.monotonic() - planted_s
            wait_until(lambda: _compared_since(worker) > planted_at, _LONGEST_S, "no further pass", interval_s=_LOOK_S)
            passed_s = time.monotonic() - planted_s
            shares = meter.shares_percent()
        found = _drifted(worker)
        wait_until(
            lambda: not difference(surroundings.stack, surroundings.names), 60.0, "they differ", interval_s=_LOOK_S
        )
        print(
            f"{documents:,} documents at {rate:,} a second: a pass should take {documents / rate:.0f} s. "
            "What was planted "
            f"was found and repaired after {found_after_s:.0f} s, and everything compared anew after {passed_s:.0f} s, "
            f"with {CHANGES_PER_S:.0f} changes a second."
        )
        print(
            f"Found: {found}. Percent of a processor: " + ", ".join(f"{n} {s:.1f}" for n, s in sorted(shares.items()))
        )
        return found == EXPECTED


def main() -> None:
    """See the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m bench.verification", description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=1_000)
    options = parser.parse_args()
    sys.exit(not measure(options.documents, options.rate))


if __name__ == "__main__":
    main()
