"""Which API keys of Typesense are ours: by the number that we remember, and by what the key says of itself."""

from typing import Any, cast

import orjson

from tsync_stream.check.artefact_places import KeyPlace
from tsync_stream.settings.load import default_settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.http import Answer


class Server:
    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = keys

    async def ask(self, method: str, path: str) -> Answer:
        assert (method, path) == ("GET", "/keys")
        return Answer(200, orjson.dumps({"keys": self.keys}))


async def test_a_number_that_another_key_has_by_now_is_not_ours() -> None:
    """After Typesense has lost its disk, its numbers begin anew: a key of others must not be removed as ours."""
    server = Server({"id": 3, "description": "backoffice"}, {"id": 4, "description": "tsync-stream: web"})
    place = KeyPlace(cast(TypesenseTarget, server), default_settings().typesense, {}, {"shop": 3, "web": 4, "gone": 5})
    found, others = await place.found()
    assert list(found) == ["web"]
    assert others == ["backoffice (3)"]
    assert (place.number("shop"), place.number("web")) == (None, 4)
