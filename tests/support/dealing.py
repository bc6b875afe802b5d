"""The order in which several processes take the tests of a run: those that need servers first, those in memory last.

pytest-xdist (`--dist worksteal`) gives each process a contiguous part of the list, all of the same length, and lets one
that is done steal from the end of the longest part. In the order of the files, one process would begin with all tests
that need servers, and the others would steal from it until the modules are torn apart.

Invariants: tests of a module that needs servers stay together and in their order, so that its servers start once. A
part ends with short tests; these are what is stolen, and all processes end at about the same time. Every process deals
alike.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeVar

T = TypeVar("T")

# Roughly, seconds that a test takes, by its folder; tests of other folders need no servers.
SECONDS = {"faults": 20.0, "acceptance": 12.0, "integration": 1.0, "contract": 0.5}
# The parts begin with different ones of these, since fault tests side by side would slow each other down most.
TURNS = (("faults",), ("acceptance",), ("integration", "contract"))


def dealt(tests: Sequence[T], place_of: Callable[[T], tuple[str, str]], parts: int) -> list[T]:
    """The tests in the order for so many processes. `place_of`: the folder and the module of a test (pure)."""
    sizes = [(len(tests) + number) // parts for number in range(parts)]  # as pytest-xdist cuts the list
    modules = [(place, list(found)) for place, found in groupby(tests, place_of)]
    modules.sort(key=lambda module: -_seconds(module[0][0], len(module[1])))
    dealt_to: list[list[tuple[str, list[T]]]] = [[] for _ in range(parts)]
    left, loads = list(sizes), [0.0] * parts
    others: list[T] = []
    for (folder, _), found in modules:
        fitting = [part for part in range(parts) if len(found) <= left[part]]
        if folder not in SECONDS or not fitting:
            others += found
            continue
        part = min(fitting, key=loads.__getitem__)
        loads[part] += _seconds(folder, len(found))
        left[part] -= len(found)
        dealt_to[part].append((folder, found))
    order: list[T] = []
    for part, modules_of_it in enumerate(dealt_to):
        for turn in range(len(TURNS)):
            folders = TURNS[(part + turn) % len(TURNS)]
            order += [test for folder, found in modules_of_it if folder in folders for test in found]
        order += others[: left[part]]
        del others[: left[part]]
    return order


def _seconds(folder: str, count: int) -> float:
    return SECONDS.get(folder, 0.0) * count
