"""The source collection: its kind, and its identity.

Invariant: nothing is created or written for a source that cannot be used; `check` and the worker use the same words.
"""

from collections.abc import Mapping
from typing import Any

from bson.errors import BSONError
from pymongo.errors import PyMongoError

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.source.driver import MongoClient
from tsync_stream.source.errors import from_mongo

COLLECTION = "collection"


async def described(client: MongoClient, database: str, name: str) -> Mapping[str, Any] | None:
    """MongoDB's description of a collection or view; None if there is none. Raises the errors of `from_mongo`."""
    try:
        async for information in await client[database].list_collections(filter={"name": name}):
            found: Mapping[str, Any] = information
            return found
    except (PyMongoError, BSONError) as error:
        raise from_mongo(error) from error
    return None


async def source_uuid(client: MongoClient, database: str, name: str, setting: str = "MONGODB_COLLECTION") -> bytes:
    """The UUID of the source: a recreated one has another. `setting` is what names it.

    Raises `ConfigurationError` if it cannot be a source.
    """
    information = await described(client, database, name)
    problem = problem_of_source(f"{database}.{name}", kind_of(information), setting)
    if problem is not None:
        raise ConfigurationError(f"{setting}: " + "; ".join(problem))
    assert information is not None
    try:
        return bytes(information["info"]["uuid"])
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigurationError("MONGODB_URI: unlike MongoDB, this server gives collections no UUID") from error


async def indexes_of_places(client: MongoClient, database: str, name: str) -> set[str]:
    """The paths that MongoDB has an index of places on. Raises the errors of `from_mongo`."""
    try:
        return {path async for index in client[database][name].list_indexes() for path in _places_of(index)}
    except (PyMongoError, BSONError) as error:
        raise from_mongo(error) from error


def _places_of(index: Mapping[str, Any]) -> list[str]:
    return [path for path, kind in index["key"].items() if kind in {"2dsphere", "2d"}]


def kind_of(information: Mapping[str, Any] | None) -> str | None:
    """The kind of what is described, or None (pure). Before MongoDB 3.4 there were only collections."""
    return None if information is None else str(information.get("type", COLLECTION))


def keeps_pre_images(information: Mapping[str, Any]) -> bool:
    """Whether the change stream can show a document of this collection as it was before a change (pure)."""
    options = information.get("options") or {}
    return bool((options.get("changeStreamPreAndPostImages") or {}).get("enabled"))


def problem_of_source(name: str, kind: str | None, setting: str = "MONGODB_COLLECTION") -> tuple[str, str] | None:
    """Why this kind cannot be a source, and what to do about it; None if it can (pure). `setting` is what names it."""
    if kind is None:
        both = "MONGODB_DATABASE and MONGODB_COLLECTION" if setting == "MONGODB_COLLECTION" else setting
        return f"there is no collection {name}", f"create it, or set {both}"
    if kind != COLLECTION:
        words = {"timeseries": "time series"}.get(kind, kind)
        return f"{name} is a {words}, which has no change stream", f"set {setting} to a collection"
    return None
