"""Rights of Redis clients, revoked and given back while they are connected."""

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
    """Send one command as a user that no test touches."""
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
    """The ACL rules for the password in the server's own settings."""
    return ("resetpass", f">{server.options.password}") if server.options.password else ("resetpass", "nopass")


def make_keeper(server: RedisServer) -> None:
    """Create a user who can give rights back, before any are revoked."""
    client: Any = redis.Redis(port=server.port, password=server.options.password or None)
    with client:
        client.execute_command("ACL", "SETUSER", _KEEPER, "reset", "on", f">{_KEEPERS_PASSWORD}", *_EVERYTHING)


def take(server: RedisServer, *rules: str) -> None:
    """Change what everybody else may do, by rules of `ACL SETUSER`; open connections are affected too."""
    make_keeper(server)
    for user in ("default", *_users(server)):
        as_keeper(server, "ACL", "SETUSER", user, *rules)


def give_back(server: RedisServer) -> None:
    """Allow everybody everything again, with the password in the server's settings."""
    as_keeper(server, "ACL", "SETUSER", "default", "reset", "on", *_password(server), *_EVERYTHING)


@contextmanager
def without(server: RedisServer, *rules: str) -> Iterator[None]:
    """Apply rules in the block only."""
    make_keeper(server)
    before = _users(server)
    take(server, *rules)
    try:
        yield
    finally:
        give_back(server)
        for user, had in before.items():
            as_keeper(server, "ACL", "SETUSER", user, "reset", *had)


def _users(server: RedisServer) -> dict[str, list[str]]:
    """The users besides `default` and the keeper, with their rules. Only secured servers have any."""
    lines = [line.decode().split() for line in as_keeper(server, "ACL", "LIST")]
    return {user: rules for _, user, *rules in lines if user not in ("default", _KEEPER)}
