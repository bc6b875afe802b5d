"""What the background verification of a route claims: every document compared since T0, equal as of T. Pure.

Invariant: a claim is about what was compared. Documents with an open dead letter are counted apart, and so are those
that were written at every look.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.observe.progress import percent
from tsync_stream.state.verifications import Verification

# How a document in Typesense may differ.
KINDS = ("missing", "different", "extra")


@dataclass(frozen=True, slots=True)
class Verified:
    """Every document was compared since `since` (None: not yet), the newest at `as_of`.

    `share` of the present pass is done. `differences` were found since `since`, and have been repaired, but for the
    `open` ones, which wait for a person. `unsettled` were written at every look, and `refused` have dead letters; both
    are those of the last complete pass. `paused` says why the pass does not go on, or is "".
    """

    since: datetime | None
    as_of: datetime | None
    share: float
    compared: int
    differences: int
    open: int
    unsettled: int
    refused: int
    paused: str

    @property
    def equal(self) -> bool:
        """Whether every document was compared, and none is known to differ now."""
        return self.since is not None and not self.open

    def to_json(self) -> dict[str, Any]:
        """As `status --json` prints it; times are `datetime`."""
        names = ("since", "as_of", "equal", "compared", "differences", "open", "unsettled", "refused")
        return {
            **{name: getattr(self, name) for name in names},
            "share": round(self.share, 4),
            "paused": self.paused or None,
        }


def verified(verification: Verification) -> Verified:
    """What a stored verification claims."""
    now = verification.tally
    whole = verification.last
    if verification.complete and verification.began is not None:
        since: Timestamp | None = verification.began
        last: Mapping[str, Any] = now
        found = _found(now)
    else:
        since = None if whole is None else whole.began
        last = {} if whole is None else whole.tally
        found = _found(now) + _found(last)
    compared = int(now.get("compared", 0))
    share = 1.0 if verification.complete else min(1.0, compared / max(1, verification.documents))
    return Verified(
        since=_time(since),
        as_of=_time(verification.latest),
        share=share,
        compared=compared,
        differences=found,
        open=int(last.get("left", 0) + last.get("foreign", 0) + bool(last.get("unseen", False))),
        unsettled=int(last.get("unsettled", 0)),
        refused=int(last.get("excepted", 0)),
        paused=verification.paused,
    )


def verified_text(seen: Verified) -> str:
    """The claim in one line, for people."""
    paused = f"; paused: {seen.paused}" if seen.paused else ""
    done = f"{percent(round(1_000 * seen.share), 1_000)} %"
    if seen.since is None or seen.as_of is None:
        return f"{done} of the documents were compared so far{_differed(seen)}{paused}"
    equal = f"{seen.open} differ and wait for a person as of" if seen.open else "equal as of"
    after = "" if seen.share == 1.0 else f"; {done} of the next pass"
    return (
        f"{equal} {seen.as_of:%Y-%m-%dT%H:%M:%SZ}, every document compared since {seen.since:%Y-%m-%dT%H:%M:%SZ}"
        f"{_differed(seen)}{after}{paused}"
    )


def _differed(seen: Verified) -> str:
    return f"; {seen.differences} differed" if seen.differences else ""


def _found(tally: Mapping[str, Any]) -> int:
    return sum(int(tally.get(kind, 0)) for kind in KINDS)


def _time(cluster_time: Timestamp | None) -> datetime | None:
    return None if cluster_time is None else datetime.fromtimestamp(cluster_time.time, UTC)
