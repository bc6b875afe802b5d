"""How many documents are refused, and what that means: for the log, health, `status`, `check` and every "done". Pure.

A document is refused while it has an open dead letter. Invariant: texts contain counts and reasons, never a key.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tsync_stream.state.dead_letter_search import ReasonCount

# Reasons shown in a text; health repeats it, so it stays short.
MOST_REASONS = 5


def what_to_do(option: str = "") -> str:
    """How a person goes on; `option` limits the command to one route (`RouteTable.option`)."""
    return f"`tsync dead-letters{option}` lists them and says how to fix each"


WHAT_TO_DO = what_to_do()


@dataclass(frozen=True, slots=True)
class Refused:
    """How many documents have an open dead letter, by reason."""

    by_reason: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_reason.values())

    def __str__(self) -> str:
        """`3 refused (id collision: 2, nested too deeply: 1)`."""
        return f"{self.total} refused ({self.reasons})" if self.total else "none refused"

    @property
    def reasons(self) -> str:
        """`id collision: 2, nested too deeply: 1`, the most frequent first."""
        reasons = sorted(self.by_reason.items(), key=lambda item: (-item[1], item[0]))
        shown = [f"{reason}: {count}" for reason, count in reasons[:MOST_REASONS]]
        if len(reasons) > MOST_REASONS:
            shown.append(f"other reasons: {sum(count for _, count in reasons[MOST_REASONS:])}")
        return ", ".join(shown)

    def level(self, documents: int, alert_share: float) -> Literal["green", "degraded", "red"]:
        """Red if more than `alert_share` of the source's `documents` (about so many) are refused."""
        if not self.total:
            return "green"
        return "red" if self.total > alert_share * documents else "degraded"

    def to_bson(self) -> list[dict[str, object]]:
        """As a job's result stores it. Reasons are values, because dots in the names of fields have a meaning."""
        return [{"reason": reason, "count": count} for reason, count in self.by_reason.items()]


def refused_among(counts: Iterable[ReasonCount]) -> Refused:
    """The counts of all routes together."""
    found: dict[str, int] = {}
    for count in counts:
        found[count.reason] = found.get(count.reason, 0) + count.count
    return Refused(found)


def all_refused(parts: Iterable[Refused]) -> Refused:
    """Those of several routes together."""
    found: Counter[str] = Counter()
    for part in parts:
        found.update(part.by_reason)
    return Refused(dict(found))


def refused_from_bson(stored: Iterable[Mapping[str, object]]) -> Refused:
    """The inverse of `Refused.to_bson`."""
    return Refused({str(item["reason"]): int(str(item["count"])) for item in stored})


def describe(refused: Refused, documents: int, alert_share: float) -> str:
    """What health and `check` say while documents are refused."""
    share = ""
    if refused.level(documents, alert_share) == "red":
        share = f", more than the share of {alert_share:g} that DEAD_LETTER_ALERT_SHARE allows"
    are = "is" if refused.total == 1 else "are"
    return (
        f"{refused.total} of about {max(documents, refused.total)} documents {are} refused ({refused.reasons}){share}; "
        "Typesense shows older versions of them, or nothing"
    )


def describe_reconcile(queued: int, refused: Refused) -> str:
    """The result of a reconcile, for the log and for people who wait for it."""
    done = f"{queued} documents queued, {refused}"
    if not refused.total:
        return f"{done}: Typesense shows what MongoDB holds"
    return f"{done}: Typesense shows older versions of these, or nothing; {WHAT_TO_DO}"
