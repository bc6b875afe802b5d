"""How the tests are dealt to the processes of a run."""

from collections import Counter
from itertools import groupby, pairwise

import pytest

from tests.support.dealing import SECONDS, dealt

COUNTS = {"acceptance": (12, 5, 9, 1), "contract": (40,), "faults": (8, 15), "integration": (30, 7), "unit": (400, 90)}
TESTS = [
    (folder, f"{folder}-{module}", number)
    for folder, counts in COUNTS.items()
    for module, count in enumerate(counts)
    for number in range(count)
]


def parts_of(order: list[tuple[str, str, int]], parts: int) -> list[list[tuple[str, str, int]]]:
    """As pytest-xdist cuts the list."""
    cut, left = [], order
    for number in range(parts):
        size = len(left) // (parts - number)
        cut.append(left[:size])
        left = left[size:]
    return cut


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7])
def test_each_process_has_servers_first_and_no_module_is_torn_apart(parts: int) -> None:
    order = dealt(TESTS, lambda test: test[:2], parts)
    assert sorted(order) == sorted(TESTS)
    owners: Counter[str] = Counter()
    for part in parts_of(order, parts):
        needs_servers = [folder in SECONDS for folder, _, _ in part]
        assert needs_servers == sorted(needs_servers, reverse=True)
        modules = [name for name, _ in groupby(name for folder, name, _ in part if folder in SECONDS)]
        owners.update(modules)
        for one, next_one in pairwise(part):
            assert one[1] != next_one[1] or one[0] not in SECONDS or one[2] + 1 == next_one[2]
    assert set(owners.values()) == {1}


def test_processes_begin_with_different_kinds_of_tests_and_have_alike_much_to_do() -> None:
    parts = parts_of(dealt(TESTS, lambda test: test[:2], 3), 3)
    assert [part[0][0] for part in parts] == ["faults", "acceptance", "integration"]
    seconds = [sum(SECONDS.get(folder, 0.0) for folder, _, _ in part) for part in parts]
    assert max(seconds) < 2 * min(seconds)


def test_what_fits_nowhere_as_a_whole_is_dealt_all_the_same() -> None:
    tests = [("acceptance", "one", number) for number in range(9)]
    assert sorted(dealt(tests, lambda test: test[:2], 2)) == tests
