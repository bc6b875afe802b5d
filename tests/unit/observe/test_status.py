"""`status`, judged from facts alone, and its output for people and machines."""

import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from bson.timestamp import Timestamp
from rich.console import Console

from tsync_stream.cli.reconcile import how_it_ended, what_was_asked
from tsync_stream.cluster.assignment import CAPTURE, LeaseView, partition_lease
from tsync_stream.cluster.membership_view import MembershipView, ReplicaView
from tsync_stream.core.model import BarrierOrder, EpochRef, Position, Route
from tsync_stream.observe.progress import show_age
from tsync_stream.observe.rates import MOST_ROUTES, Rates
from tsync_stream.observe.route_status import RouteFacts
from tsync_stream.observe.status import Facts, Status, as_json, judge
from tsync_stream.observe.status_view import NOT_STARTED, problem_lines, progress_line, render, restart_lines
from tsync_stream.state.dead_letter_counts import Refused
from tsync_stream.state.jobs import RECONCILE, Asked, Job
from tsync_stream.state.pipeline import BarrierRecord, Pipeline, TierSuspect
from tsync_stream.state.route_state import ReconcileNeed, RouteState, Suspension

TTL_S = 15.0
LISTINGS = Route("listings", "shop", "listings", "listings")
SELLERS = Route("sellers", "shop", "sellers", "people")
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
NEED = ReconcileNeed("job1", "the first start")
TOLD = {"captured": 7, "synced": 5, "captured_per_s": 2.0, "synced_per_s": 1.5, "started_at": NOW}


def ago(seconds: float, cursors: Mapping[str, Mapping[str, Any]] | None = None) -> Position:
    """The position of some seconds before NOW."""
    return Position({"_data": "00"}, Timestamp(int(NOW.timestamp() - seconds), 1), cursors or {})


def pipeline(captured: Position | None = None, reconcile: ReconcileNeed | None = None, **changes: Any) -> Pipeline:
    """Two partitions on the primary tier, begun an hour ago, and one route."""
    well = Pipeline(
        epoch=EpochRef("d1", 3, "n1", "primary"),
        capture_fence=4,
        partitions=2,
        began=ago(3600),
        captured=captured or ago(1),
        routes={"listings": RouteState({}, reconcile)},
    )
    return replace(well, **changes)


def records(*ages_s: float) -> dict[int, BarrierRecord]:
    """The last barrier of each partition, all of the present term; the older a position, the smaller its counter."""
    return {
        partition: BarrierRecord(BarrierOrder(3, 4, 10_000 - int(age_s)), 1, ago(age_s))
        for partition, age_s in enumerate(ages_s)
    }


def replica(name: str, renewed_s_ago: float | None = 1.0, **changes: Any) -> ReplicaView:
    renewed_at = None if renewed_s_ago is None else NOW - timedelta(seconds=renewed_s_ago)
    return replace(ReplicaView(name, expired=False, dead=False, renewed_at=renewed_at, statistics=TOLD), **changes)


def membership(
    *replicas: ReplicaView, capturing: str | None = "a", owners: tuple[str | None, ...] = ("a", "a")
) -> MembershipView:
    leases = {CAPTURE: LeaseView(CAPTURE, capturing, 4)}
    for partition, owner in enumerate(owners):
        name = partition_lease(partition)
        leases[name] = LeaseView(name, owner, 1)
    return MembershipView(leases, {view.name: view for view in replicas or (replica("a"),)})


def look(**facts: Any) -> Status:
    """A pipeline that is healthy except for these facts."""
    well: dict[str, Any] = {
        "pipeline": pipeline(),
        "records": records(2, 3),
        "membership": membership(),
        "backlog": [0, 0],
    }
    return judge(Facts(NOW, **{**well, **facts}), TTL_S)


def printed(status: Status) -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(render(status))
    return out.getvalue()


# ---- positions and lag ----


def test_what_slows_the_writes_of_live_replicas_is_told_once() -> None:
    slowing = {"slowing": ["limited by TYPESENSE_MAX_RATE"]}
    gone = replica("c", dead=True, statistics={"slowing": ["old news"]})
    status = look(membership=membership(replica("a", statistics=slowing), replica("b", statistics=slowing), gone))
    assert status.slowing == as_json(status)["slowing"] == ["limited by TYPESENSE_MAX_RATE"]
    assert look(membership=membership(replica("a"))).slowing == []


def test_synced_is_the_smallest_barrier_and_captured_is_the_pipelines() -> None:
    status = look(records=records(5, 9))
    assert status.captured is not None
    assert status.captured.age_s == 1
    assert status.synced is not None
    assert (status.synced.age_s, status.synced.time) == (9, NOW - timedelta(seconds=9))


@pytest.mark.parametrize(
    ("changes", "lag_s"),
    [
        ({}, 0.0),  # nothing waits and captured is current: synced is only as old as the last barrier
        ({"backlog": [0, 1]}, 3.0),
        ({"backlog": None}, 3.0),  # at most
        ({"pipeline": pipeline(ago(120))}, 3.0),  # nobody captures: who knows what changed since
    ],
)
def test_lag_is_the_age_of_synced_unless_everything_is_known_to_be_synced(
    changes: Mapping[str, Any], lag_s: float
) -> None:
    assert look(**changes).lag_s == lag_s


def test_before_the_first_start_there_is_nothing_to_show() -> None:
    status = judge(Facts(NOW), TTL_S)
    assert (status.lag_s, status.captured, status.partitions) == (None, None, [])
    assert NOT_STARTED in " ".join(printed(status).split())
    assert as_json(status)["pipeline"] is None


# ---- replicas and owners ----


@pytest.mark.parametrize(
    ("view", "state"),
    [
        (replica("a"), "live"),
        (replica("a", None), "live"),  # it has just come
        (replica("a", 22), "live"),
        (replica("a", 23), "silent"),  # 1.5 LEASE_TTL: others would take over
        (replica("a", expired=True), "gone"),
        (replica("a", dead=True), "gone"),
    ],
)
def test_a_replica_lives_as_long_as_it_renews(view: ReplicaView, state: str) -> None:
    status = look(membership=membership(view))
    assert status.replicas[0].state == state
    assert (status.capturing is not None) == (state == "live")


def test_replicas_are_shown_with_what_they_own_and_do() -> None:
    status = look(membership=membership(replica("a"), replica("b"), capturing="b", owners=("a", None)))
    assert [(seen.name, seen.partitions, seen.captures) for seen in status.replicas] == [
        ("a", 1, False),
        ("b", 0, True),
    ]
    assert [partition.owner for partition in status.partitions] == ["a", None]
    assert status.rate("synced_per_s") == 3.0
    assert "no owner" in printed(status)


def test_rates_are_unknown_until_a_live_replica_tells() -> None:
    assert look(membership=membership(replica("a", statistics={}))).rate("synced_per_s") is None
    assert look(membership=membership(replica("a", dead=True))).rate("synced_per_s") is None


def test_a_problem_that_several_replicas_report_is_shown_once() -> None:
    problem = {"check": "typesense", "text": "refused", "needs_person": False}
    told = {**TOLD, "problems": [problem]}
    gone = replica("c", dead=True, statistics={"problems": [{"check": "tier", "text": "old news"}]})
    status = look(membership=membership(replica("a", statistics=told), replica("b", statistics=told), gone))
    assert problem_lines(status) == ["typesense: refused"]


def test_what_needs_a_restart_is_named_for_each_replica() -> None:
    told = {**TOLD, "settings": {"version": "1f", "restart_for": ["PARTITIONS", "WEB_PORT"]}}
    gone = replica("c", dead=True, statistics=told)
    status = look(membership=membership(replica("a", statistics=told), replica("b"), gone))
    assert restart_lines(status) == ["a: a restart is needed for PARTITIONS, WEB_PORT"]
    assert [(each["settings_version"], each["restart_for"]) for each in as_json(status)["replicas"]] == [
        ("1f", ["PARTITIONS", "WEB_PORT"]),
        (None, []),
        ("1f", ["PARTITIONS", "WEB_PORT"]),
    ]


# ---- reconcile ----


@pytest.mark.parametrize(
    ("cursor", "capturing", "phase"),
    [
        (None, "a", "scan"),
        ({"phase": "scan", "_id": 7}, "a", "scan"),
        ({"phase": "sweep"}, "a", "sweep"),
        ({"phase": "done"}, "a", "syncing"),
        ({"phase": "scan", "_id": 7}, None, "waiting"),
        ({"phase": "scan", "_id": 7}, "gone", "waiting"),
    ],
)
def test_a_reconcile_has_come_as_far_as_its_captured_cursor(
    cursor: Mapping[str, Any] | None, capturing: str | None, phase: str
) -> None:
    position = ago(1, {} if cursor is None else {"job1": cursor})
    status = look(pipeline=pipeline(position, reconcile=NEED), membership=membership(capturing=capturing))
    assert status.reconcile is not None
    assert (status.reconcile.phase, status.reconcile.reason) == (phase, "the first start")


def test_a_reconciles_progress_fits_a_line() -> None:
    status = look(pipeline=pipeline(reconcile=NEED), backlog=[3, 4])
    assert status.reconcile is not None
    assert progress_line(status, status.reconcile) == (
        "queueing every key of the source; 7 entries are waiting, 2 are synced per second"
    )


@pytest.mark.parametrize(
    ("asked", "allow", "live", "says"),
    [
        (Asked("nothing ran"), False, 0, ["Nothing has run yet"]),
        (Asked("filed", NEED), False, 1, ["A reconcile is filed.", "Live changes continue meanwhile"]),
        (Asked("filed", NEED), False, 0, ["No replica is live"]),
        (Asked("open", NEED), False, 1, ["already open (the first start)"]),
        (Asked("open", NEED), True, 1, ["already open (the first start)", "It may delete"]),
    ],
)
def test_a_person_learns_what_was_filed_and_what_happens_next(
    asked: Asked, allow: bool, live: int, says: list[str]
) -> None:
    text = what_was_asked({"listings": asked}, allow_mass_delete=allow, live=live)
    assert all(part in text for part in says)


# ---- what is shown ----


def test_what_could_not_be_read_is_named_and_not_guessed() -> None:
    status = look(backlog=None, unseen=["the queue: primary Redis at h:1 gives no answer"])
    assert status.entries is None
    assert [partition.entries for partition in status.partitions] == [None, None]
    text = printed(status)
    assert "lag           up to 3 s" in text
    assert "cannot be read: the queue: primary Redis at h:1 gives no answer" in text


def test_everything_is_shown_to_people() -> None:
    status = look(
        pipeline=pipeline(
            reconcile=replace(NEED, allow_mass_delete=True), tier_suspect=TierSuspect(3, "entries are missing")
        ),
        backlog=[3, 4],
        routes=[RouteFacts(LISTINGS, 50, Refused({"id collision": 2}))],
        rechecks=1,
        membership=membership(replica("a"), replica("b", 90), owners=("a", "b")),
    )
    text = printed(status)
    for part in (
        "deployment d1, epoch 3 on the primary tier",
        "suspect: entries are missing",
        "2026-01-01T11:59:57Z, 3 s ago",
        "7 entries",
        "2/s captured, 1.5/s synced",
        "2 open, 4 % of the documents (id collision: 2): `tsync dead-letters` lists them",
        "1 waiting",
        "open (the first start, mass delete allowed): queueing every key",
        "b (silent)",
        "silent for 90 s",
        "7 (2/s)",
    ):
        assert part in text, text


def test_json_holds_everything_by_name() -> None:
    status = look(
        pipeline=pipeline(reconcile=NEED),
        backlog=[3, 4],
        routes=[RouteFacts(LISTINGS, 0, Refused({"a": 1, "b": 1}))],
        rechecks=1,
    )
    shown = orjson.loads(orjson.dumps(as_json(status)))
    assert shown["pipeline"] == {
        "deployment": "d1",
        "epoch": 3,
        "tier": "primary",
        "partitions": 2,
        "tier_suspect": None,
    }
    assert shown["synced"] == {"time": "2026-01-01T11:59:57+00:00", "age_s": 3.0}
    assert shown["queue"]["entries"] == 7
    assert shown["queue"]["partitions"][1] == {"partition": 1, "owner": "a", "entries": 4}
    assert (shown["capturing"], shown["live_replicas"]) == ("a", 1)
    assert shown["replicas"][0]["captured"] == 7
    assert shown["rates"] == {"captured_per_s": 2.0, "synced_per_s": 1.5}
    assert (shown["dead_letters_open"], shown["rechecks_waiting"]) == (2, 1)
    assert shown["dead_letters_by_reason"] == {"a": 1, "b": 1}
    assert (shown["reconcile"]["route"], shown["reconcile"]["phase"]) == ("listings", "scan")


def test_a_reconcile_says_how_far_it_is_and_how_long_it_takes() -> None:
    """By what is synced, not by what is queued: a queue may hold all of a small collection."""

    def reached(queued: int) -> Mapping[str, Any]:
        return {NEED.job: {"phase": "scan", "queued": queued, "documents": 1_000}}

    began = pipeline(reconcile=NEED)
    passed = {
        partition: replace(record, position=replace(record.position, cursors=reached(400)))
        for partition, record in records(2, 3).items()
    }
    captured = replace(began.captured, cursors=reached(900))
    status = look(pipeline=replace(began, captured=captured), records=passed, backlog=[500, 0])
    shown = "queueing every key of the source; 40 %, 400 of about 1000 documents are synced, about 7 min left"
    assert shown in " ".join(printed(status).split()), "600 at 1.5/s"
    assert status.reconcile is not None
    assert progress_line(status, status.reconcile).endswith("left; 500 entries are waiting, 2 are synced per second")
    as_printed = as_json(status)["reconcile"]
    assert (as_printed["synced"], as_printed["documents"]) == (400, 1_000)


def test_a_reconcile_of_an_older_version_says_only_its_phase() -> None:
    captured = replace(pipeline().captured, cursors={NEED.job: {"phase": "scan", "_id": 7}})
    status = look(pipeline=replace(pipeline(reconcile=NEED), captured=captured))
    assert status.reconcile is not None
    assert progress_line(status, status.reconcile).startswith("queueing every key of the source; 0 entries are waiting")


@pytest.mark.parametrize(
    ("result", "words", "well"),
    [
        ({"queued": 50, "refused": []}, "50 documents queued, none refused: Typesense shows what MongoDB holds", True),
        (
            {"queued": 50, "refused": [{"reason": "id collision", "count": 50}]},
            "50 documents queued, 50 refused (id collision: 50): Typesense shows older versions of these, or nothing",
            False,
        ),
        (None, "was replaced by a later reconcile", False),
    ],
)
def test_the_end_of_a_reconcile_counts_what_was_refused(result: Any, words: str, well: bool) -> None:
    job = None if result is None else Job("r1", RECONCILE, "listings", {}, "done", NOW, {}, result)
    text, is_well = how_it_ended(job)
    assert words in text
    assert is_well is well


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7300, "2 h"), (200_000, "2 d")]
)
def test_ages_are_shown_in_one_unit(seconds: float, shown: str) -> None:
    assert show_age(seconds) == shown


# ---- many routes ----


def many(**states: RouteState) -> Status:
    """Two declared routes, and whatever else the pipeline knows."""
    facts = [RouteFacts(LISTINGS, 50, Refused({"id collision": 2})), RouteFacts(SELLERS, 7, Refused({"too deep": 1}))]
    known = {"listings": RouteState({}), "sellers": RouteState({}), **states}
    return look(pipeline=pipeline(routes=known), routes=facts, backlog=[0, 1])


def row(status: Status, route: str) -> list[str]:
    (found,) = [line.split("  ") for line in printed(status).splitlines() if line.startswith(f" {route} ")]
    return [cell.strip() for cell in found if cell.strip()]


def test_several_routes_are_shown_in_a_table() -> None:
    status = many(sellers=RouteState({}, NEED))
    assert row(status, "listings") == ["listings", "shop.listings", "listings", "50", "2", "3 s", "none open"]
    assert row(status, "sellers") == ["sellers", "shop.sellers", "people", "7", "1", "3 s", "scan"]
    assert (status.documents, status.refused.total) == (57, 3)
    assert "open for sellers" in printed(status)


def test_one_route_needs_no_table() -> None:
    assert "shop.listings" not in printed(look(routes=[RouteFacts(LISTINGS, 50)]))


def test_a_suspended_route_has_no_lag_and_its_reconcile_waits_for_it() -> None:
    status = many(sellers=RouteState({}, NEED, suspended=Suspension("n1", "there is no collection shop.sellers")))
    assert row(status, "sellers")[-1] == "suspended"
    shown = {route["name"]: route for route in as_json(status)["routes"]}
    assert shown["sellers"]["suspended"] == "there is no collection shop.sellers"
    assert shown["sellers"]["lag_s"] is None
    assert shown["sellers"]["reconcile"]["phase"] == "suspended"
    assert (shown["listings"]["suspended"], shown["listings"]["lag_s"]) == (None, 3.0)


def test_a_route_that_only_the_pipeline_knows_is_shown_as_such() -> None:
    drafts = RouteState({"source": "shop.drafts", "target": "drafts"})
    cells = row(many(drafts=drafts), "drafts")
    assert cells == ["drafts", "shop.drafts", "drafts", "?", "0", "3 s", "not declared here"]


def test_a_declared_route_that_never_ran_has_no_lag() -> None:
    status = look(pipeline=pipeline(), routes=[RouteFacts(LISTINGS), RouteFacts(SELLERS)], backlog=[0, 1])
    assert [route.lag_s for route in status.routes] == [3.0, None]


# ---- what replicas tell ----


def test_rates_are_those_of_the_last_interval() -> None:
    rates = Rates(now_s=100.0, started_at=NOW)
    assert rates.measure(105.0, captured={"a": 50, "b": 0}, synced={"a": 15, "b": 5}) == {
        "started_at": NOW,
        "captured": 50,
        "synced": 20,
        "captured_per_s": 10.0,
        "synced_per_s": 4.0,
        "routes": [
            {"route": "a", "captured_per_s": 10.0, "synced_per_s": 3.0},
            {"route": "b", "captured_per_s": 0.0, "synced_per_s": 1.0},
        ],
    }
    later = rates.measure(110.0, captured={"a": 50, "b": 0}, synced={"a": 40, "b": 5})
    assert (later["captured"], later["captured_per_s"], later["synced_per_s"]) == (50, 0.0, 5.0)
    assert [each["route"] for each in later["routes"]] == ["a"]


def test_only_the_busiest_routes_are_published() -> None:
    counts = {f"r{number}": number for number in range(200)}
    published = Rates(now_s=0.0).measure(1.0, counts, counts)["routes"]
    assert [each["route"] for each in published] == [f"r{number}" for number in range(199, 199 - MOST_ROUTES, -1)]


def test_a_routes_rates_are_those_of_all_live_replicas() -> None:
    busy = {**TOLD, "routes": [{"route": "listings", "captured_per_s": 2.0, "synced_per_s": 0.5}]}
    idle = {**TOLD, "routes": []}
    found = {}
    for name, told in (("both", [busy, busy]), ("one", [busy, idle]), ("idle", [idle]), ("older version", [TOLD])):
        replicas = [replica(str(number), statistics=each) for number, each in enumerate(told)]
        [route] = look(membership=membership(*replicas), routes=[RouteFacts(LISTINGS)]).routes
        found[name] = (route.captured_per_s, route.synced_per_s)
    assert found == {"both": (4.0, 1.0), "one": (2.0, 0.5), "idle": (0.0, 0.0), "older version": (None, None)}


def test_no_time_means_no_rate() -> None:
    assert Rates(now_s=1.0).measure(1.0, captured={"a": 5}, synced={"a": 5})["captured_per_s"] == 0.0
