"""Health: one check per thing that can be wrong, each red with what is wrong and what happens or what to do next.

Invariant: a text names settings, servers and counts, never a document or a secret.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong. `needs_person`: waiting does not mend it."""

    text: str
    needs_person: bool


class Health:
    """The red checks of one replica. A change of a check is logged once, not at every repetition."""

    def __init__(self) -> None:
        self._problems: dict[str, Problem] = {}

    @property
    def problems(self) -> Mapping[str, Problem]:
        """The red checks by name."""
        return self._problems

    def red(self, check: str, text: str, *, needs_person: bool = False) -> None:
        """Turn a check red, or change its text."""
        problem = Problem(text, needs_person)
        if self._problems.get(check) != problem:
            self._problems[check] = problem
            log.log(logging.ERROR if needs_person else logging.WARNING, "%s: %s", check, text)

    def green(self, check: str) -> None:
        """Turn a check green again."""
        if self._problems.pop(check, None) is not None:
            log.info("%s: well again", check)

    def report(self) -> dict[str, object]:
        """The answer of `/health`."""
        return {
            "status": "red" if self._problems else "green",
            "problems": [
                {"check": check, "text": problem.text, "needs_person": problem.needs_person}
                for check, problem in sorted(self._problems.items())
            ],
        }
