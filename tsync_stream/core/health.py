"""Health: named checks, each green or with a text that says what is wrong, and what happens next or what to do.

A check is *red* while a person has to act before changes reach Typesense, or while work that waits has not moved for
longer than a set time. It is *degraded* while the pipeline copes: an outage is waited out, a reconcile runs, a spare
server is lost, or documents were refused. Invariants: a text names settings, servers and counts, never a document or a
secret. How long a check has been as it is, is measured on a clock that never steps back; the time is for people.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from tsync_stream.core import clock
from tsync_stream.core.clock import Moment
from tsync_stream.core.events import event
from tsync_stream.core.quiet import about

log = logging.getLogger(__name__)

Level: TypeAlias = Literal["degraded", "red"]
# A fault keeps changes from Typesense; with a notice they still arrive; work is a reconcile that runs.
Kind: TypeAlias = Literal["fault", "notice", "work"]

LEVELS: tuple[Level, ...] = ("degraded", "red")

# Checks that are green again, whose last text is remembered.
MOST_OVER = 50


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong. `needs_person`: it does not pass by itself."""

    text: str
    needs_person: bool
    level: Level = "red"
    kind: Kind = "fault"


@dataclass(frozen=True, slots=True)
class Over:
    """What a check that is green again said last, and since when it is green."""

    text: str
    since: Moment


class Health:
    """The checks of one replica that are not green. Only changes are logged, not repetitions."""

    def __init__(self) -> None:
        self._problems: dict[str, Problem] = {}
        self._since: dict[str, Moment] = {}  # when each of them came to its level
        self._over: dict[str, Over] = {}  # the newest last
        self._unconfirmed: set[str] = set()  # by those who have been replaced, and not yet reported again
        self._status = "green"
        self._status_since = clock.moment()

    def __repr__(self) -> str:
        levels = ", ".join(f"{check}: {problem.level}" for check, problem in sorted(self._problems.items()))
        return f"Health({levels or 'green'})"

    @property
    def problems(self) -> Mapping[str, Problem]:
        """The checks that are not green, by name."""
        return self._problems

    @property
    def over(self) -> Mapping[str, Over]:
        """The checks that are green again, by name; those of the last `MOST_OVER` recoveries."""
        return self._over

    @property
    def status(self) -> str:
        """The worst level of all checks: `green`, `degraded` or `red`."""
        return self._status

    @property
    def status_since(self) -> Moment:
        """Since when the status is what it is."""
        return self._status_since

    def since(self, check: str) -> Moment:
        """Since when a check that is not green is at its level. Raises `KeyError` if it is green."""
        return self._since[check]

    def red(self, check: str, text: str, *, needs_person: bool = False) -> None:
        """Turn a check red, or change its text."""
        self._set(check, Problem(text, needs_person))

    def degraded(self, check: str, text: str, *, needs_person: bool = False) -> None:
        """Turn a check degraded although changes still reach Typesense, or change its text."""
        self._set(check, Problem(text, needs_person, "degraded", "notice"))

    def fault(self, check: str, text: str, *, needs_person: bool = False) -> None:
        """Report what keeps changes from Typesense: red if a person must act, degraded while it is waited out."""
        self._set(check, Problem(text, needs_person, "red" if needs_person else "degraded"))

    def working(self, check: str, text: str) -> None:
        """Turn a check degraded for work that runs, such as a reconcile, which logs its beginning and end itself."""
        self._set(check, Problem(text, needs_person=False, level="degraded", kind="work"))

    def green(self, check: str) -> None:
        """Turn a check green again."""
        problem = self._problems.pop(check, None)
        if problem is None:
            return
        del self._since[check]
        self._over.pop(check, None)
        self._over[check] = Over(problem.text, clock.moment())
        while len(self._over) > MOST_OVER:
            del self._over[next(iter(self._over))]
        self._judge()
        if problem.kind != "work":
            log.info(
                "%s: healthy again", check, extra={**event("health.green", check=check), **about(check, "healthy")}
            )

    def begin_anew(self, but: Collection[str] = ()) -> None:
        """Those who report are replaced by others now. What these do not report again until `settle` is over."""
        self._unconfirmed = self._problems.keys() - set(but)

    def settle(self) -> None:
        """Turn green what nobody has reported since `begin_anew`."""
        for check in sorted(self._unconfirmed):
            self.green(check)
        self._unconfirmed.clear()

    def report(self) -> dict[str, Any]:
        """The status, and the problems that are published to other replicas."""
        return {
            "status": self.status,
            "problems": [
                {
                    "check": check,
                    "level": problem.level,
                    "text": problem.text,
                    "kind": problem.kind,
                    "needs_person": problem.needs_person,
                    "since": self._since[check].at,
                }
                for check, problem in sorted(self._problems.items())
            ],
        }

    def _set(self, check: str, problem: Problem) -> None:
        self._unconfirmed.discard(check)
        before = self._problems.get(check)
        if before == problem:
            return
        self._problems[check] = problem
        if before is None or before.level != problem.level:
            self._since[check] = clock.moment()
            self._over.pop(check, None)
            self._judge()
        if problem.kind != "work":
            level = logging.ERROR if problem.needs_person else logging.WARNING
            log.log(
                level,
                "%s: %s",
                check,
                problem.text,
                extra={**event("health.not_green", check=check, health=problem.level), **about(check, "wrong")},
            )

    def _judge(self) -> None:
        levels = {problem.level for problem in self._problems.values()}
        status = "red" if "red" in levels else "degraded" if levels else "green"
        if status != self._status:
            self._status, self._status_since = status, clock.moment()
