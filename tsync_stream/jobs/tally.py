"""What a verification has found: of some pages, and in all. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tsync_stream.jobs.compare import Difference

MOST_EXAMPLES = 10


@dataclass(slots=True)
class Findings:
    """Of some pages: what really differs, how many have an open dead letter, and how many never stood still."""

    differences: list[Difference] = field(default_factory=list)
    excepted: int = 0
    unsettled: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """The numbers of a verification, and the first keys that differ; in a cursor, so there are few.

    `foreign` ids are none that we would write; `unseen`: more ids than are looked at are in Typesense alone;
    `left` are in Typesense alone, and are not deleted since they are too many.
    """

    compared: int = 0
    missing: int = 0
    different: int = 0
    extra: int = 0
    excepted: int = 0
    unsettled: int = 0
    foreign: int = 0
    unseen: bool = False
    queued: int = 0
    left: int = 0
    examples: Sequence[Mapping[str, Any]] = field(default_factory=list)

    @property
    def differences(self) -> int:
        """How many documents Typesense does not show as it should."""
        return self.missing + self.different + self.extra

    def plus(self, findings: Findings) -> "Tally":
        """With these findings, too."""
        kinds = [item.kind for item in findings.differences]
        room = max(0, MOST_EXAMPLES - len(self.examples))
        examples = [{"kind": item.kind, "key": item.key} for item in findings.differences[:room]]
        return replace(
            self,
            missing=self.missing + kinds.count("missing"),
            different=self.different + kinds.count("different"),
            extra=self.extra + kinds.count("extra"),
            excepted=self.excepted + findings.excepted,
            unsettled=self.unsettled + findings.unsettled,
            examples=[*self.examples, *examples],
        )

    def to_bson(self) -> dict[str, Any]:
        """As cursors and jobs hold it; `Tally(**…)` is the way back."""
        return asdict(self)
