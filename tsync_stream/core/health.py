"""Health: named checks, each green or with a text that says what is wrong, and what happens next or what to do.

A check is *degraded* while every change still reaches Typesense (a spare server is lost, documents were refused). It is
*red* while changes do not, or while a person has to act. Invariant: a text names settings, servers and counts, never a
document or a secret.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tsync_stream.core.quiet import about

log = logging.getLogger(__name__)

Level = Literal["degraded", "red"]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong. `needs_person`: it does not pass by itself."""

    text: str
    needs_person: bool
    level: Level = "red"


class Health:
    """The checks of one replica that are not green. Only changes are logged, not repetitions."""

    def __init__(self) -> None:
        self._problems: dict[str, Problem] = {}

    def __repr__(self) -> str:
        levels = ", ".join(f"{check}: {problem.level}" for check, problem in sorted(self._problems.items()))
        return f"Health({levels or 'green'})"

    @property
    def problems(self) -> Mapping[str, Problem]:
        """The checks that are not green, by name."""
        return self._problems

    @property
    def status(self) -> str:
        """The worst level of all checks: `green`, `degraded` or `red`."""
        levels = {problem.level for problem in self._problems.values()}
        return "red" if "red" in levels else "degraded" if levels else "green"

    def red(self, check: str, text: str, *, needs_person: bool = False) -> None:
        """Turn a check red, or change its text."""
        self._set(check, Problem(text, needs_person))

    def degraded(self, check: str, text: str, *, needs_person: bool = False) -> None:
        """Turn a check degraded, or change its text."""
        self._set(check, Problem(text, needs_person, "degraded"))

    def green(self, check: str) -> None:
        """Turn a check green again."""
        if self._problems.pop(check, None) is not None:
            log.info("%s: healthy again", check, extra=about(check, "healthy"))

    def report(self) -> dict[str, Any]:
        """The answer of `/health`."""
        return {
            "status": self.status,
            "problems": [
                {"check": check, "level": problem.level, "text": problem.text, "needs_person": problem.needs_person}
                for check, problem in sorted(self._problems.items())
            ],
        }

    def _set(self, check: str, problem: Problem) -> None:
        if self._problems.get(check) != problem:
            self._problems[check] = problem
            level = logging.ERROR if problem.needs_person else logging.WARNING
            log.log(level, "%s: %s", check, problem.text, extra=about(check, "wrong"))
