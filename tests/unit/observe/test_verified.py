"""What the background verification claims, from what is stored of it."""

from datetime import UTC, datetime
from typing import Any

import orjson
from bson.timestamp import Timestamp

from tests.unit.observe.test_status import LISTINGS, look, printed
from tsync_stream.jobs.compare import Tally
from tsync_stream.observe.metrics import Metrics
from tsync_stream.observe.route_status import RouteFacts
from tsync_stream.observe.status import as_json
from tsync_stream.observe.verified import verified, verified_text
from tsync_stream.state.jobs import DONE, SCAN
from tsync_stream.state.verifications import CompletePass, Verification


def cursor(phase: str, **numbers: Any) -> dict[str, Any]:
    return {"phase": phase, "tally": Tally(**numbers).to_bson()}


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


FIRST = Verification(
    "listings", "f", documents=200, began=Timestamp(100, 1), cursor=cursor(SCAN, compared=50), latest=Timestamp(150, 1)
)
WHOLE = Verification(
    "listings",
    "f",
    documents=200,
    began=Timestamp(100, 1),
    cursor=cursor(DONE, compared=210, missing=1, extra=2, excepted=3, unsettled=4),
    latest=Timestamp(200, 1),
)


def test_nothing_is_claimed_before_a_pass_is_complete() -> None:
    seen = verified(FIRST)
    assert (seen.since, seen.as_of, seen.equal, seen.share) == (None, at(150), False, 0.25)
    assert verified_text(seen) == "25 % of the documents were compared so far"
    assert verified(Verification("listings", "f")).as_of is None


def test_a_complete_pass_claims_its_whole_duration() -> None:
    seen = verified(WHOLE)
    assert (seen.since, seen.as_of, seen.equal, seen.share) == (at(100), at(200), True, 1.0)
    assert (seen.differences, seen.refused, seen.unsettled, seen.open) == (3, 3, 4, 0)
    assert verified_text(seen) == (
        "equal as of 1970-01-01T00:03:20Z, every document compared since 1970-01-01T00:01:40Z; 3 differed"
    )


def test_the_next_pass_keeps_the_claim_of_the_last_one_until_it_is_complete() -> None:
    following = WHOLE.next_pass()
    assert following.last == CompletePass(Timestamp(100, 1), Timestamp(200, 1), WHOLE.tally)
    assert (following.cursor, following.began, following.complete) == (None, None, False)
    under_way = Verification(
        "listings",
        "f",
        200,
        Timestamp(210, 1),
        cursor(SCAN, compared=20, different=1),
        Timestamp(220, 1),
        following.last,
    )
    seen = verified(under_way)
    assert (seen.since, seen.as_of, seen.equal, seen.share) == (at(100), at(220), True, 0.1)
    assert seen.differences == 3 + 1
    assert verified_text(seen).endswith("; 4 differed; 10 % of the next pass")


def test_what_waits_for_a_person_is_no_equality() -> None:
    left = Verification(
        "listings", "f", 200, Timestamp(1, 1), cursor(DONE, extra=9, left=9, foreign=2), Timestamp(2, 1)
    )
    seen = verified(left)
    assert (seen.equal, seen.open) == (False, 11)
    assert verified_text(seen).startswith("11 differ and wait for a person as of")


def test_a_pause_is_said() -> None:
    paused = Verification("listings", "f", paused="Typesense: connection refused")
    assert verified_text(verified(paused)).endswith("; paused: Typesense: connection refused")
    told = verified(paused).to_json()
    assert (told["paused"], told["since"]) == ("Typesense: connection refused", None)
    assert orjson.dumps(told)


def test_metrics_show_what_is_known_alone() -> None:
    metrics = Metrics()
    metrics.show_verified(FIRST)
    labels = {"route": "listings"}
    assert metrics.registry.get_sample_value("tsync_verified_ratio", labels) == 0.25
    assert metrics.registry.get_sample_value("tsync_verified_since_timestamp_seconds", labels) is None
    metrics.show_verified(WHOLE)
    assert metrics.registry.get_sample_value("tsync_verified_since_timestamp_seconds", labels) == 100
    assert metrics.registry.get_sample_value("tsync_verified_timestamp_seconds", labels) == 200
    metrics.end_term()
    assert metrics.registry.get_sample_value("tsync_verified_ratio", labels) is None


def test_status_shows_the_claim_of_each_route() -> None:
    status = look(routes=[RouteFacts(LISTINGS, 200, verification=WHOLE)])
    assert "verified" in printed(status)
    assert "every document compared since 1970-01-01T00:01:40Z" in " ".join(printed(status).split())
    (route,) = as_json(status)["routes"]
    assert (route["verified"]["equal"], route["verified"]["since"]) == (True, at(100))
    (unknown,) = as_json(look(routes=[RouteFacts(LISTINGS, 200)]))["routes"]
    assert unknown["verified"] is None
