"""How many documents are refused, and what people are told of it."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.health import Health
from tsync_stream.core.model import Route
from tsync_stream.observe.dead_letter_watch import CHECK, DeadLetterWatch
from tsync_stream.observe.metrics import Metrics
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.dead_letter_counts import (
    MOST_REASONS,
    Refused,
    describe,
    describe_reconcile,
    refused_among,
    refused_from_bson,
)
from tsync_stream.state.dead_letter_search import ReasonCount, Selection

REASON = "rejected by Typesense (400)"


def test_the_most_frequent_reasons_come_first_and_the_text_is_short() -> None:
    assert str(Refused()) == "none refused"
    assert str(Refused({"a": 1, "c": 2, "b": 2})) == "5 refused (b: 2, c: 2, a: 1)"
    many = Refused({f"reason {number}": 100 - number for number in range(MOST_REASONS + 3)})
    assert str(many).count("reason") == MOST_REASONS + 1
    assert "other reasons: 282" in str(many)


def test_counts_of_several_routes_are_added() -> None:
    counts = [ReasonCount("a", REASON, 2), ReasonCount("b", REASON, 3), ReasonCount("a", "id collision", 1)]
    assert refused_among(counts) == Refused({REASON: 5, "id collision": 1})


def test_a_job_stores_reasons_of_any_name() -> None:
    refused = Refused({"$set": 1, "a.b": 2, "": 3})
    assert refused_from_bson(refused.to_bson()) == refused


@pytest.mark.parametrize(
    ("refused", "documents", "share", "level"),
    [
        (0, 0, 0.0, "green"),
        (1, 1000, 0.01, "degraded"),
        (10, 1000, 0.01, "degraded"),
        (11, 1000, 0.01, "red"),
        (50, 50, 0.01, "red"),
        (1, 0, 0.01, "red"),  # an estimate may be off
        (1, 1000, 0.0, "red"),
        (50, 50, 1.0, "degraded"),
    ],
)
def test_more_than_a_share_is_red(refused: int, documents: int, share: float, level: str) -> None:
    assert Refused({REASON: refused} if refused else {}).level(documents, share) == level


def test_a_text_says_how_many_of_how_many_why_and_what_is_shown() -> None:
    text = describe(Refused({REASON: 1}), 200, 0.01)
    assert text == (
        f"1 of about 200 documents is refused ({REASON}: 1); Typesense shows older versions of them, or nothing"
    )
    assert "2 of about 2 documents are refused" in describe(Refused({REASON: 2}), 0, 0.01)


def test_a_done_counts_what_was_refused() -> None:
    assert describe_reconcile(50, Refused()) == "50 documents queued, none refused: Typesense shows what MongoDB holds"
    text = describe_reconcile(50, Refused({REASON: 50}))
    assert text.startswith(f"50 documents queued, 50 refused ({REASON}: 50)")
    assert "dead-letters` lists them" in text
    assert "shows what MongoDB holds" not in text


@dataclass
class Records:
    """What is open, by reason."""

    open: dict[str, int] = field(default_factory=dict)
    away: bool = False

    async def count_by_reason(self, selection: Selection, status: str) -> list[ReasonCount]:
        assert (selection, status) == (Selection(route="listings"), "open")
        if self.away:
            raise DependencyUnavailable("MongoDB is away")
        return [ReasonCount("listings", reason, count) for reason, count in self.open.items()]


async def test_health_and_metrics_follow_what_is_open() -> None:
    records, health, metrics = Records(), Health(), Metrics()

    async def documents(route: Route) -> int:
        return 1_000

    table = RouteTable([Declaration(Route("listings", "shop", "listings", "listings"))])
    watch = DeadLetterWatch(table, cast("Any", records), documents, health, metrics, 0.01)

    def exposed() -> list[str]:
        lines = metrics.exposition().decode().splitlines()
        return [line for line in lines if line.startswith("tsync_dead_letters_open{")]

    await watch.look()
    assert (health.status, exposed()) == ("green", [])
    records.open = {REASON: 3}
    await watch.look()
    problem = health.problems[CHECK]
    assert (problem.level, problem.needs_person) == ("degraded", True)
    assert "3 of about 1000 documents are refused" in problem.text
    assert "`tsync dead-letters`" in problem.text
    records.open = {"id collision": 11}
    await watch.look()
    assert health.problems[CHECK].level == "red"
    assert exposed() == ['tsync_dead_letters_open{reason="id collision",route="listings"} 11.0']
    records.away = True
    with pytest.raises(DependencyUnavailable):
        await watch.look()
    assert health.problems[CHECK].level == "red", "a failed count must not clear the check"
    records.away, records.open = False, {}
    await watch.look()
    assert (health.status, exposed()) == ("green", [])
