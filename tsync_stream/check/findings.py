"""What `check` finds at one dependency. Pure: each dependency has a module that gathers facts, then judges them.

Invariant: texts name settings, servers and codes, never a secret; and whatever is wrong says how to mend it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# A check of one dependency takes no longer, whatever the server does.
DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something worth saying. Wrong: the pipeline will not work as promised. Note: it will, and still.

    `lines` are to be put somewhere as they stand: into redis.conf, or into a shell.
    """

    level: Literal["wrong", "note"]
    text: str
    mend: str = ""
    lines: tuple[str, ...] = ()


def wrong(text: str, mend: str, *lines: str) -> Finding:
    """A finding that makes the check fail."""
    return Finding("wrong", text, mend, lines)


def note(text: str, mend: str = "", *lines: str) -> Finding:
    """A finding that a person may want to know."""
    return Finding("note", text, mend, lines)


@dataclass(frozen=True, slots=True)
class Row:
    """One dependency: is it there, which version (empty: unknown), what was found."""

    dependency: str
    address: str
    reachable: bool
    version: str
    findings: Sequence[Finding]

    @property
    def well(self) -> bool:
        """Nothing is wrong; there may be notes."""
        return all(finding.level != "wrong" for finding in self.findings)


def version_numbers(version: str) -> tuple[int, ...]:
    """`6.0.5-rc1` as (6, 0, 5); what is no number ends it."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
