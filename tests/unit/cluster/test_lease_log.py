"""The log says one line about each change of leases, however many leases changed."""

import logging

import pytest

from tsync_stream.cluster.assignment import CAPTURE, Held, describe_leases, partition_lease
from tsync_stream.cluster.lease_log import log_changes


def held(*numbers: int, fence: int = 1, after_expiry: bool = False) -> dict[str, Held]:
    names = [CAPTURE, *map(partition_lease, numbers)]
    return {name: Held(name, fence, after_expiry, taken_s=0.0) for name in names}


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([0], "partition 0"),
        ([7, 0, 1, 2, 3, 4, 5, 6], "partitions 0-7"),
        ([0, 2, 3, 10], "partitions 0, 2-3 and 10"),
        ([5, 7], "partitions 5 and 7"),
    ],
)
def test_consecutive_partitions_are_named_as_ranges(numbers: list[int], text: str) -> None:
    assert describe_leases(map(partition_lease, numbers)) == text


def test_each_change_is_one_line_and_no_change_is_none(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logged = log_changes({}, held(*range(8)))
        logged = log_changes(logged, held(*range(8)))
        logged = log_changes(logged, held(0, 1, 2))
        logged = log_changes(logged, held(0, 1, 2) | held(0, 1, fence=2, after_expiry=True))
        log_changes(logged, {})
    assert [record.getMessage() for record in caplog.records] == [
        "leases: now ours: capture, partitions 0-7",
        "leases: no longer ours: partitions 3-7",
        "leases: now ours: capture, partitions 0-1 (3 of them from a holder that expired or did not finish)",
        "leases: no longer ours: capture, partitions 0-2",
    ]
