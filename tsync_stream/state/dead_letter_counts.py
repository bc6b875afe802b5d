"""How many documents are refused, and what that means: for the log, health, `status`, `check`, and every "done". Pure.

A document is refused while it has an open dead letter. Invariant: a text has counts and reasons, never a key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tsync_stream.state.dead_letter_search import ReasonCount

# A text that is told again and again stays short.
MOST_REASONS = 5
WHAT_TO_DO = "`faust -A tsync_stream dead-letters` lists them, and says what repairs each"


@dataclass(frozen=True, slots=True)
class Refused:
    """The documents with an open dead letter, by its reason."""

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
        """`id collision: 2, nested too deeply: 1`; the most frequent first."""
        reasons = sorted(self.by_reason.items(), key=lambda item: (-item[1], item[0]))
        shown = [f"{reason}: {count}" for reason, count in reasons[:MOST_REASONS]]
        if len(reasons) > MOST_REASONS:
            shown.append(f"other reasons: {sum(count for _, count in reasons[MOST_REASONS:])}")
        return ", ".join(shown)

    def level(self, documents: int, alert_share: float) -> Literal["green", "degraded", "red"]:
        """Red: more than this share of the source's documents, of which there are about so many."""
        if not self.total:
            return "green"
        return "red" if self.total > alert_share * documents else "degraded"

    def to_bson(self) -> list[dict[str, object]]:
        """As a job keeps it. Reasons are values: as names of fields their dots would mean something."""
        return [{"reason": reason, "count": count} for reason, count in self.by_reason.items()]


def refused_among(counts: Iterable[ReasonCount]) -> Refused:
    """Of all routes together that are counted."""
    found: dict[str, int] = {}
    for count in counts:
        found[count.reason] = found.get(count.reason, 0) + count.count
    return Refused(found)


def refused_from_bson(stored: Iterable[Mapping[str, object]]) -> Refused:
    """The inverse of `Refused.to_bson`."""
    return Refused({str(item["reason"]): int(str(item["count"])) for item in stored})


def describe(refused: Refused, documents: int, alert_share: float) -> str:
    """What health and `check` say while any is refused."""
    share = ""
    if refused.level(documents, alert_share) == "red":
        share = f", more than the share of {alert_share:g} that DEAD_LETTER_ALERT_SHARE allows"
    are = "is" if refused.total == 1 else "are"
    return (
        f"{refused.total} of about {max(documents, refused.total)} documents {are} refused ({refused.reasons}){share}; "
        "Typesense shows older versions of them, or nothing"
    )


def describe_reconcile(queued: int, refused: Refused) -> str:
    """What came of a reconcile: in the log, and for whoever waited for it."""
    done = f"{queued} documents queued, {refused}"
    if not refused.total:
        return f"{done}: Typesense shows what MongoDB holds"
    return f"{done}: Typesense shows older versions of these, or nothing; {WHAT_TO_DO}"
