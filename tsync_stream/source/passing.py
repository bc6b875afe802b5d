"""Asks MongoDB whether single documents pass a few aggregation stages, for people who want to know why one is hidden.

Invariant: every question is about one key, and ends after `MAX_TIME_MS`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bson.errors import BSONError
from pymongo.errors import OperationFailure, PyMongoError

from tsync_stream.core.model import Key, Route
from tsync_stream.source.documents import source_collection
from tsync_stream.source.driver import MongoClient
from tsync_stream.source.errors import from_mongo
from tsync_stream.source.view_errors import may_be_the_view

MAX_TIME_MS = 2_000


async def passes(client: MongoClient, route: Route, key: Key, stages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether something is left of this document after these stages; False also if MongoDB refuses them for it.

    Raises the errors of `errors.from_mongo`.
    """
    pipeline = [{"$match": {"_id": {"$in": [key]}}}, *stages, {"$limit": 1}, {"$project": {"_id": 1}}]
    try:
        async for _ in source_collection(client, route).aggregate(pipeline, maxTimeMS=MAX_TIME_MS):
            return True
    except OperationFailure as error:
        if not may_be_the_view(error):
            raise from_mongo(error) from error
    except (PyMongoError, BSONError) as error:
        raise from_mongo(error) from error
    return False
