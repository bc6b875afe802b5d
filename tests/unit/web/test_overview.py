"""What the dashboard says of tiers, problems and jobs."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tsync_stream.core.clock import moment
from tsync_stream.core.health import Health
from tsync_stream.observe.conditions import Condition, State
from tsync_stream.observe.health_report import ReplicaView
from tsync_stream.observe.status import Facts, ReplicaStatus, judge
from tsync_stream.settings.load import default_settings
from tsync_stream.state.history import Sample
from tsync_stream.state.jobs import REPLAY, VERIFY, Job
from tsync_stream.state.refreshes import Lookup, OpenRefresh
from tsync_stream.web.jobs_view import jobs_json
from tsync_stream.web.look import Seen, Shown
from tsync_stream.web.overview import Here, history_json, overview_json
from tsync_stream.web.problems import problems_json, worst_level
from tsync_stream.web.tiers import tiers_json

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ALL = ["primary", "backup", "mongo"]


def servers(**words: str) -> dict[str, Condition]:
    return {name: Condition(State(word, f"{name} is {word}"), moment()) for name, word in words.items()}


@pytest.mark.parametrize(
    ("configured", "current", "words", "expected"),
    [
        (ALL, "primary", {}, [("active", "the first choice"), ("reserve", "would be"), ("reserve", "would be")]),
        (
            ALL,
            "primary",
            {"backup": "unreachable"},
            [("active", "first"), ("unreachable", "backup is"), ("reserve", "")],
        ),
        (
            ALL,
            "backup",
            {"primary": "refusing"},
            [("refusing", "primary is"), ("active", "Primary Redis cannot be used now"), ("reserve", "would be")],
        ),
        (
            ALL,
            "backup",
            {},
            [
                ("reserve", "fails back to it once it has been healthy for 30s"),
                ("active", "not trusted"),
                ("reserve", ""),
            ],
        ),
        (["mongo"], "mongo", {}, [("left out", "PRIMARY_REDIS_HOST"), ("left out", "BACKUP"), ("active", "No Redis")]),
        (ALL, None, {}, [("reserve", ""), ("reserve", ""), ("reserve", "")]),
    ],
)
def test_each_tier_has_a_state_and_a_reason(
    configured: list[str], current: str | None, words: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    found = tiers_json(configured, current, servers(**words), None, 30.0)
    assert [tier["state"] for tier in found] == [state for state, _ in expected]
    for tier, (_, why) in zip(found, expected, strict=True):
        assert why in tier["why"]


def test_a_suspect_tier_says_so() -> None:
    assert "too slow" in tiers_json(ALL, "primary", {}, "too slow", 30.0)[0]["why"]


def replica(name: str, *problems: dict[str, Any]) -> ReplicaStatus:
    return ReplicaStatus(name, "live", 0.0, captures=False, partitions=1, statistics={"problems": problems})


def test_a_problem_is_shown_once_with_all_who_report_it_and_the_worst_first() -> None:
    health = Health()
    health.fault("server typesense", "it does not answer")
    health.fault("other replicas", "b, tier: it is lost")
    theirs = {"check": "server typesense", "level": "degraded", "kind": "fault", "text": "away", "needs_person": False}
    red = {"check": "tier", "level": "red", "kind": "fault", "text": "it is lost", "needs_person": True}
    found = problems_json(health, "a", [replica("a", theirs), replica("b", theirs, red)])
    assert [(each["check"], each["replicas"]) for each in found] == [("tier", ["b"]), ("server typesense", ["a", "b"])]
    assert (worst_level(found), worst_level(found[1:]), worst_level([])) == ("red", "degraded", "green")


def test_jobs_of_every_kind_have_one_form() -> None:
    replay = Job("r", REPLAY, "orders", {"chosen": 8}, "open", NOW, {"phase": "scan", "queued": 2, "left_s": 3.0}, None)
    waiting = Job("v", VERIFY, "orders", {"documents": 0}, "open", NOW, {}, None)
    done = Job("d", REPLAY, "orders", {}, "failed", NOW, {}, {"error": "no route"}, NOW)
    status = judge(Facts(NOW, jobs=[replay, waiting]), 15.0)
    found = jobs_json(
        status, [done], [OpenRefresh("refresh-1", Lookup("products", "brands", "brand_id"), 1, begun=False)]
    )
    assert [(job["kind"], job["share"], job["cancellable"]) for job in found["open"]] == [
        (REPLAY, 0.25, True),
        (VERIFY, None, True),
        ("refresh", None, False),
    ]
    assert "1 changed document of brands" in found["open"][2]["text"]
    assert (found["ended"][0]["text"], found["ended"][0]["well"]) == ("failed: no route", False)


def here(health: Health) -> Here:
    return Here(default_settings(), health, ReplicaView(replica="a"), token=False)


def test_without_mongodb_the_health_of_this_replica_is_still_shown() -> None:
    health = Health()
    health.fault("server mongodb", "it does not answer")
    found = overview_json(Shown(None, "MongoDB cannot be read"), here(health))
    assert (found["level"], found["status"], found["problem"]) == ("degraded", None, "MongoDB cannot be read")
    assert (found["actions"], found["values"]) == (False, False)


def test_before_the_first_start_there_is_an_overview_too() -> None:
    seen = Seen(judge(Facts(NOW), 15.0), [], [], [(NOW, Sample(1.0, 2.0, None))], NOW, 0.0)
    found = overview_json(Shown(seen), here(Health()))
    assert (found["level"], found["status"]["pipeline"]) == ("green", None)
    assert found["status"]["stages"] == {"capture": None, "sync": None}
    assert history_json(seen)["samples"] == [[NOW, 1.0, 2.0, None]]
    assert history_json(None)["samples"] == []
