"""What a Redis lets its clients do, taken from them and given back, while they are connected."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tsync_stream.embedded import RedisServer

_KEEPER, _KEEPERS_PASSWORD = "keeper", "of the tests"
_EVERYTHING = ("~*", "&*", "+@all")


def as_keeper(server: RedisServer, *command: str) -> Any:
    """One command of a user whom no test touches."""
    client: Any = redis.Redis(
        port=server.port,
        username=_KEEPER,
        password=_KEEPERS_PASSWORD,
        socket_timeout=10.0,
        retry=Retry(NoBackoff(), 0),
    )
    with client:
        return client.execute_command(*command)


def _password(server: RedisServer) -> tuple[str, ...]:
    """As the server's own settings have it."""
    return ("resetpass", f">{server.options.password}") if server.options.password else ("resetpass", "nopass")


def make_keeper(server: RedisServer) -> None:
    """Before anything is taken: a user who can give it back."""
    client: Any = redis.Redis(port=server.port, password=server.options.password or None)
    with client:
        client.execute_command("ACL", "SETUSER", _KEEPER, "reset", "on", f">{_KEEPERS_PASSWORD}", *_EVERYTHING)


def take(server: RedisServer, *rules: str) -> None:
    """Change what everybody else may do, by rules of `ACL SETUSER`, for those who are connected as well."""
    make_keeper(server)
    as_keeper(server, "ACL", "SETUSER", "default", *rules)


def give_back(server: RedisServer) -> None:
    """Everybody may do everything again, with the password of the server's settings."""
    as_keeper(server, "ACL", "SETUSER", "default", "reset", "on", *_password(server), *_EVERYTHING)


@contextmanager
def without(server: RedisServer, *rules: str) -> Iterator[None]:
    """`take` in the block alone."""
    take(server, *rules)
    try:
        yield
    finally:
        give_back(server)
