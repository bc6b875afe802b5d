"""Which backups are deleted: by count, by age, and never the newest good one or another's file."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.backups.rotation import Named, named, stem, to_delete

NOW = datetime(2026, 5, 10, 3, 0, 0, 123_000, tzinfo=UTC)
OURS = "0a1b2c3d"


def backup(days: float, *, good: bool = True, deployment: str = OURS) -> Named:
    made_at = NOW - timedelta(days=days)
    return Named(f"{stem(deployment, made_at)}.zip", deployment, made_at, good)


def deleted(found: list[Named], *, keep: int = 3, days: float | None = None) -> set[str]:
    return set(to_delete(found, OURS, keep, None if days is None else days * 86_400, NOW))


def names(*found: Named) -> set[str]:
    return {each.name for each in found}


def test_a_name_says_what_it_was_made_of() -> None:
    name = f"{stem(OURS, NOW)}.zip"

    assert name == "tsync-0a1b2c3d-20260510T030000.123Z.zip"
    assert named(name) == Named(name, OURS, NOW)


@pytest.mark.parametrize(
    "name",
    [
        "tsync-0a1b2c3d-20260510T030000.123Z.zip.part",
        ".tsync-0a1b2c3d-20260510T030000.123Z.zip.part",
        "tsync-0a1b2c3d-20261310T030000.123Z.zip",
        "tsync-other-20260510T030000.123Z.zip",
        "notes.zip",
    ],
)
def test_other_files_are_not_ours(name: str) -> None:
    assert named(name) is None


def test_the_newest_are_kept() -> None:
    found = [backup(days) for days in range(5)]

    assert deleted(found) == names(*found[3:])
    assert deleted(found[:3]) == set()


def test_old_ones_are_deleted_although_there_are_few() -> None:
    found = [backup(0), backup(5), backup(11)]

    assert deleted(found, days=10) == names(found[2])


def test_the_newest_one_stays_however_old_it_is() -> None:
    found = [backup(30), backup(60)]

    assert deleted(found, keep=7, days=10) == names(found[1])


def test_a_damaged_one_pushes_no_good_one_out() -> None:
    damaged, old = backup(1, good=False), backup(9, good=False)
    found = [backup(0), damaged, backup(2), backup(3), backup(4), old]

    assert deleted(found) == names(found[4], old)


def test_where_all_are_damaged_nothing_is_deleted() -> None:
    assert deleted([backup(days, good=False) for days in range(9)], days=1) == set()


@given(
    st.lists(
        st.builds(
            backup,
            st.floats(0, 1000),
            good=st.booleans(),
            deployment=st.sampled_from([OURS, "ffff0000"]),
        ),
        unique_by=lambda each: each.name,
    ),
    st.integers(1, 5),
    st.none() | st.floats(0.1, 500),
)
def test_the_newest_good_one_and_those_of_others_stay(found: list[Named], keep: int, days: float | None) -> None:
    gone = deleted(found, keep=keep, days=days)

    assert not gone & names(*(each for each in found if each.deployment != OURS))
    good = sorted((each for each in found if each.deployment == OURS and each.good), key=lambda each: each.made_at)
    kept = [each for each in good if each.name not in gone]
    assert kept == good[len(good) - len(kept) :], "an older one was kept instead of a newer one"
    assert len(kept) <= keep or kept[0].made_at == kept[-keep].made_at
    assert bool(kept) == bool(good)
