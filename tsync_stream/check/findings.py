"""The findings of `check` about one dependency. Pure: each dependency has a module that gathers facts and judges them.

Invariant: texts name settings, servers and codes, never a secret; every finding that is wrong says how to fix it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# The check of one dependency ends after this, whatever the server does.
DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Wrong: the pipeline will not work as promised. Note: it will, but a person should know.

    `fix` says what to do; `lines` can be copied as they are, into redis.conf or a shell.
    """

    level: Literal["wrong", "note"]
    text: str
    fix: str = ""
    lines: tuple[str, ...] = ()


def wrong(text: str, fix: str, *lines: str) -> Finding:
    """A finding that makes the check fail."""
    return Finding("wrong", text, fix, lines)


def note(text: str, fix: str = "", *lines: str) -> Finding:
    """A finding that leaves the check green."""
    return Finding("note", text, fix, lines)


@dataclass(frozen=True, slots=True)
class Row:
    """One dependency: whether it answers, its version (empty: unknown), and the findings."""

    dependency: str
    address: str
    reachable: bool
    version: str
    findings: Sequence[Finding]

    @property
    def healthy(self) -> bool:
        """Nothing is wrong; there may be notes."""
        return all(finding.level != "wrong" for finding in self.findings)


def version_numbers(version: str) -> tuple[int, ...]:
    """`6.0.5-rc1` as (6, 0, 5): up to the first part that is not a number."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
