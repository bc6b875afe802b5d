"""The way of one change and the floors, as docs/architecture.md shows them, are those of the code."""

import re
import tomllib
from itertools import pairwise

import pytest

from tests.support.way import PACKAGE, STAGES, between, imports_of, stage_of, stations

STATIONS = stations()

# What one station hands to another is defined here. A term holds the tier that it appends to, so that it leads to both.
HANDED_OVER_IN = {"capture/term.py", "queue/tier.py", "sync/batch.py"}


def hands_over(path: str) -> frozenset[str]:
    """The files through which a station takes and gives, directly or through another of them."""
    ours = imports_of(path) & HANDED_OVER_IN
    return ours.union(*(imports_of(file) & HANDED_OVER_IN for file in ours))


def meet(one: str, other: str) -> bool:
    """Whether one station imports the other, or both import what passes between them."""
    return other in imports_of(one) or one in imports_of(other) or bool(hands_over(one) & hands_over(other))


def test_the_way_is_short_and_names_each_file_once() -> None:
    assert 0 < len(STATIONS) <= 12
    assert len(set(STATIONS)) == len(STATIONS)
    assert all((PACKAGE / path).is_file() for path in STATIONS)


def test_the_way_goes_from_capture_by_the_queue_to_sync() -> None:
    stages = [stage_of(path) for path in STATIONS]

    assert list(dict.fromkeys(stages)) == list(STAGES)
    assert stages == sorted(stages, key=STAGES.index), "a stage that was left is not entered again"


@pytest.mark.parametrize("path", STATIONS)
def test_no_station_imports_one_of_another_stage(path: str) -> None:
    """Stages meet in what they hand over, and in the composition root."""
    others = {other for other in STATIONS if stage_of(other) != stage_of(path)}

    assert imports_of(path) & others == set()


@pytest.mark.parametrize("path", STATIONS[1:])
def test_every_station_meets_one_before_it(path: str) -> None:
    """It imports an earlier one, is imported by it, or both import the value that passes between them."""
    before = STATIONS[: STATIONS.index(path)]

    assert any(meet(path, earlier) for earlier in before)


def test_what_is_handed_over_is_defined_apart() -> None:
    assert all((PACKAGE / path).is_file() for path in HANDED_OVER_IN)
    assert set(STATIONS) & HANDED_OVER_IN == set()


@pytest.mark.parametrize(("stage", "following"), list(pairwise(STAGES)))
def test_each_stage_meets_the_next(stage: str, following: str) -> None:
    ours, theirs = ([path for path in STATIONS if stage_of(path) == name] for name in (stage, following))

    assert any(meet(one, other) for one in ours for other in theirs)


def test_the_floors_are_those_that_import_linter_checks() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    rows = re.findall(r"^\| (\d+) \| `(\w+)(?:/|\.py)` \|", between("floors"), re.MULTILINE)
    floors = {int(floor): [room for number, room in rows if number == floor] for floor, _ in rows}

    assert sorted(floors, reverse=True) == list(floors) == list(range(len(layers) - 1, -1, -1))
    assert [sorted(rooms) for rooms in floors.values()] == [sorted(layer.split(" | ")) for layer in layers]
