"""Which stream a set of collections needs, and the moment that a resume token names."""

from typing import Any

import pytest
from bson.timestamp import Timestamp

from tsync_stream.source.stream_scope import scope_of, time_of


@pytest.mark.parametrize(
    ("namespaces", "where", "words"),
    [
        ([("shop", "a")], ("shop", "a", "a"), "the collection shop.a"),
        ([("shop", "a"), ("shop", "b")], ("shop", 1, "$cmd.aggregate"), "the database shop"),
        ([("shop", "a"), ("blog", "a")], ("admin", 1, "$cmd.aggregate"), "the cluster"),
    ],
)
def test_the_narrowest_stream_that_shows_all_of_them_is_opened(
    namespaces: list[tuple[str, str]], where: tuple[str, str | int, str], words: str
) -> None:
    scope = scope_of(namespaces)
    assert (scope.database, scope.aggregate, scope.cursor_collection) == where
    assert str(scope) == words


def test_the_command_for_one_collection_has_no_more_than_it_needs() -> None:
    project = {"$project": {"operation": "$operationType", "time": "$clusterTime", "key": "$documentKey._id"}}
    assert scope_of([("shop", "a")]).stages({"_data": "82"}) == [
        {"$changeStream": {"resumeAfter": {"_data": "82"}}},
        project,
    ]


@pytest.mark.parametrize(
    ("start", "options"),
    [
        (None, {}),
        ({"_data": "82"}, {"resumeAfter": {"_data": "82"}}),
        (Timestamp(7, 1), {"startAtOperationTime": Timestamp(7, 1)}),
    ],
)
def test_a_stream_starts_now_or_behind_a_token_or_at_a_moment(start: Any, options: dict[str, Any]) -> None:
    cluster = scope_of([("shop", "a"), ("blog", "b")])
    assert cluster.stages(start)[0] == {"$changeStream": {"allChangesForCluster": True, **options}}


def test_a_token_names_a_moment() -> None:
    assert time_of({"_data": "826B0CA9190000000D2B0229296E04"}) == Timestamp(0x6B0CA919, 13)


@pytest.mark.parametrize("data", ["", "82", "816B0CA9190000000D", "not hexadecimal", None, 7])
def test_what_is_no_token_of_mongodb_names_none(data: Any) -> None:
    assert time_of({"_data": data}) is None
    assert time_of({}) is None
