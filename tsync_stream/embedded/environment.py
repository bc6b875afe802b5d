"""The embedded stack that the settings describe: the same for the worker, the demo and the commands."""

import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from pymongo import MongoClient

from tsync_stream.embedded import EmbeddedStack, RedisServerOptions
from tsync_stream.settings.load import RedisSettings, Settings

Namespace: TypeAlias = tuple[str, str]  # a database and a collection


@contextmanager
def embedded_stack(
    settings: Settings, collections: Iterable[Namespace], with_pre_images: Container[Namespace] = ()
) -> Iterator[dict[str, str]]:
    """Run the servers for the duration of the block; yields the variables that lead to them.

    Those of `collections` (database and name) that are missing are created, because a newcomer's first start has none.
    Raises `ConfigurationError` as `EmbeddedStack.start` does.
    """
    stack = _stack(settings)
    try:
        stack.start(lambda text: print(f"embedded stack: {text}", file=sys.stderr, flush=True))
        environment = stack.environment()
        create_missing(environment["MONGODB_URI"], collections, with_pre_images)
        yield environment
    finally:
        stack.stop()


def running_stack_environment(settings: Settings) -> dict[str, str] | None:
    """The variables that lead to the servers of a running worker; None if there is none."""
    return _stack(settings).remembered_environment()


def _stack(settings: Settings) -> EmbeddedStack:
    executables = {
        "MONGOD_EXECUTABLE": settings.mongod_executable,
        "REDIS_SERVER_EXECUTABLE": settings.redis_server_executable,
        "TYPESENSE_SERVER_EXECUTABLE": settings.typesense_server_executable,
    }
    return EmbeddedStack(
        settings.embedded_dir,
        primary_redis=_redis_options(settings.primary_redis),
        backup_redis=_redis_options(settings.backup_redis),
        typesense_api_key=settings.typesense.api_key,
        executables={name: str(path) for name, path in executables.items() if path is not None},
    )


def _redis_options(settings: RedisSettings) -> RedisServerOptions:
    return RedisServerOptions(
        append_only=settings.append_only,
        append_filename=settings.append_filename,
        rdb_filename=settings.rdb_filename,
        save_interval_s=settings.save_interval_s,
        password=settings.password,
    )


def create_missing(uri: str, collections: Iterable[Namespace], with_pre_images: Container[Namespace]) -> None:
    """Create the collections that do not exist; the others stay as they are."""
    with MongoClient[dict[str, object]](uri) as client:
        for database, name in collections:
            options: dict[str, Any] = {}
            if (database, name) in with_pre_images:
                options["changeStreamPreAndPostImages"] = {"enabled": True}
            if name not in client[database].list_collection_names():
                client[database].create_collection(name, **options)
