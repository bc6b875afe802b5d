"""The names of backups, and which of them are deleted (pure).

Invariants: only files whose name we made, of one deployment, are ever chosen. The newest good one always stays, however
old it is. A damaged one does not count as kept, so it never pushes a good one out.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_TIME = "%Y%m%dT%H%M%S"
_NAME = re.compile(r"tsync-(?P<deployment>[0-9a-f]+)-(?P<time>[0-9]{8}T[0-9]{6})\.(?P<millisecond>[0-9]{3})Z\.zip")


@dataclass(frozen=True, slots=True)
class Named:
    """What the name of a backup says; `good`: its manifest can be read."""

    name: str
    deployment: str
    made_at: datetime
    good: bool = True


def stem(deployment: str, made_at: datetime) -> str:
    """The name of a backup without its suffix, and of its snapshot; times are UTC, to the millisecond."""
    made_at = made_at.astimezone(UTC)
    return f"tsync-{deployment}-{made_at.strftime(_TIME)}.{made_at.microsecond // 1000:03d}Z"


def named(name: str) -> Named | None:
    """What a file's name says; None if it is not one of ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        made_at = datetime.strptime(match["time"], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Named(name, match["deployment"], made_at + timedelta(milliseconds=int(match["millisecond"])))


def to_delete(
    found: Iterable[Named], deployment: str, keep: int, keep_for_s: float | None, now: datetime
) -> Sequence[str]:
    """The names of the backups that are not kept: older than the newest `keep` good ones, or than `keep_for_s`."""
    ours = sorted((each for each in found if each.deployment == deployment), key=lambda each: each.made_at)
    good = [each for each in ours if each.good]
    if not good:
        return []
    oldest = good[-keep:][0].made_at
    if keep_for_s is not None:
        oldest = max(oldest, now - timedelta(seconds=keep_for_s))
    oldest = min(oldest, good[-1].made_at)
    return [each.name for each in ours if each.made_at < oldest]
