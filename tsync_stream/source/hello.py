"""What a MongoDB server says about itself: its answers to `hello` and `buildInfo`.

Invariant: any answer is read, or raises one of our errors. Products that only speak MongoDB's protocol leave parts out.
https://www.mongodb.com/docs/manual/reference/command/hello/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated


@dataclass(frozen=True, slots=True)
class Hello:
    """One server's view of itself and its replica set; empty where it says nothing.

    `uninitiated`: it was started as a member of a set that nobody has initiated. `members` are the addresses that the
    set tells clients to use.
    """

    set_name: str = ""
    primary: str = ""
    members: tuple[str, ...] = ()
    sharded: bool = False
    uninitiated: bool = False
    writable: bool = True


def hello_of(reply: Any) -> Hello:
    """Read an answer to `hello` (pure)."""
    if not isinstance(reply, Mapping):
        return Hello()
    hosts = reply.get("hosts")
    return Hello(
        set_name=_text(reply.get("setName")),
        primary=_text(reply.get("primary")),
        members=tuple(str(host) for host in hosts) if isinstance(hosts, list) else (),
        sharded=reply.get("msg") == "isdbgrid",
        uninitiated=bool(reply.get("isreplicaset")),
        # Before MongoDB 4.4.2 the field had its old name.
        writable=bool(reply.get("isWritablePrimary", reply.get("ismaster", True))),
    )


def version_of(reply: Any) -> str:
    """The version in an answer to `buildInfo`, such as `6.0.5`; "" if there is none (pure)."""
    return _text(reply.get("version")) if isinstance(reply, Mapping) else ""


def time_of(reply: Any) -> datetime:
    """The server's time in an answer to `hello` (pure). Raises `ConfigurationError` if there is none."""
    time = reply.get("localTime") if isinstance(reply, Mapping) else None
    if not isinstance(time, datetime):
        raise ConfigurationError("MONGODB_URI: this server does not tell its time, as MongoDB does")
    return time


async def server_time(database: MongoDatabase) -> datetime:
    """MongoDB's own time, with its time zone. Raises the errors of `errors.from_mongo`."""
    async with translated():
        reply = await database.command("hello", codec_options=BSON_OPTIONS)
    return time_of(reply)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
