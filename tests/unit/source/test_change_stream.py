"""What servers answer that are not quite MongoDB: told as such, whatever is missing in it."""

from collections.abc import Mapping
from typing import Any, cast

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.source.change_stream import ChangeStream
from tsync_stream.source.stream_scope import scope_of

REPLY = {
    "cursor": {"id": 7, "firstBatch": [], "nextBatch": [], "postBatchResumeToken": {"_data": "82"}},
    "operationTime": Timestamp(7, 1),
}


SCOPE = scope_of([("shop", "listings")])


class Client:
    """A client, its session and its databases: it answers every command with the same."""

    def __init__(self, reply: Mapping[str, Any]) -> None:
        self.reply = reply
        self.commands: list[Mapping[str, Any]] = []

    async def start_session(self, **_: Any) -> "Client":
        return self

    async def end_session(self) -> None:
        """Nothing to end."""

    def __getitem__(self, _: str) -> "Client":
        return self

    async def command(self, command: Mapping[str, Any], **_: Any) -> RawBSONDocument:
        self.commands.append(command)
        return RawBSONDocument(bson.encode(self.reply))


def without(*path: str) -> dict[str, Any]:
    """The reply without what the path leads to."""
    reply: dict[str, Any] = {**REPLY, "cursor": dict(REPLY["cursor"])}  # type: ignore[call-overload]
    inner = reply
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return reply


BROKEN = [
    {},
    {"cursor": None},
    without("operationTime"),
    without("cursor", "id"),
    without("cursor", "postBatchResumeToken"),
    without("cursor", "firstBatch"),
]


@pytest.mark.parametrize("reply", BROKEN)
async def test_a_server_whose_reply_lacks_what_we_need_is_not_supported(reply: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="MONGODB_URI: this server is not supported"):
        await ChangeStream.open(cast("Any", Client(reply)), SCOPE, None, 10)


async def test_a_batch_that_lacks_what_we_need_is_not_supported_either() -> None:
    client = Client(REPLY)
    stream = await ChangeStream.open(cast("Any", client), SCOPE, None, 10)
    assert (await stream.next_batch(10, 0.1)).token == {"_data": "82"}
    client.reply = {**without("operationTime")}
    with pytest.raises(ConfigurationError, match="not supported"):
        await stream.next_batch(10, 0.1)


async def test_the_scan_is_limited_by_us_and_not_by_the_server() -> None:
    client = Client(REPLY)
    await ChangeStream.open(cast("Any", client), SCOPE, None, 10, 77.0)
    assert client.commands[0]["maxTimeMS"] == 77_000
