"""Problems of the routes file: where each is, in which route, what is wrong, and what is needed there (pure).

Invariants: a problem quotes the file as it is written, never the value of a variable. All problems are reported
together, in the order of their places.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

Place: TypeAlias = tuple[str | int, ...]
"""The keys and positions that lead to a value: `("routes", "listings", "lookups", 0, "as")`."""

MAX_SHOWN = 100  # of one file: more are not read by anybody
LIKENESS = 0.6


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One problem; `line` and `column` count from 1. `route` is "" where it concerns none or all."""

    line: int
    column: int
    route: str
    text: str


def lines(problems: Iterable[Problem], path: Path) -> list[str]:
    """Each problem as a sentence that begins with its place, as editors and compilers write it."""
    ordered = sorted(set(problems))
    shown = [_line(problem, path) for problem in ordered[:MAX_SHOWN]]
    if left := len(ordered) - len(shown):
        shown.append(f"{path}: {left} further problems are not shown")
    return shown


def _line(problem: Problem, path: Path) -> str:
    route = f", route {problem.route}" if problem.route else ""
    return f"{path}:{problem.line}:{problem.column}{route}: {problem.text}"


def spelled(place: Sequence[str | int]) -> str:
    """A place as people write it: `lookups[0].as`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean target?`, or nothing if no known name is like it."""
    near = get_close_matches(name, sorted(known), 1, LIKENESS)
    return f"; did you mean `{near[0]}`?" if near else ""
