"""What errors of PyMongo mean, beyond their code."""

import pymongo.errors
import pytest

from tsync_stream.core.errors import DependencyUnavailable, PositionLost
from tsync_stream.source.errors import from_mongo


def test_a_change_stream_that_the_server_calls_not_resumable_is_a_lost_position() -> None:
    details = {"code": 4711, "errorLabels": ["NonResumableChangeStreamError"]}
    assert isinstance(from_mongo(pymongo.errors.OperationFailure("x", 4711, details)), PositionLost)


@pytest.mark.parametrize("error", [pymongo.errors.NetworkTimeout("x"), pymongo.errors.DocumentTooLarge("x")], ids=repr)
def test_a_failed_call_of_mongodb_is_an_outage_and_leaves_nothing_in_doubt(error: pymongo.errors.PyMongoError) -> None:
    translated = from_mongo(error)
    assert isinstance(translated, DependencyUnavailable)
    assert not translated.in_doubt
