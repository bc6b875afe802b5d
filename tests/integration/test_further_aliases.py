"""Aliases that `apply` made follow a reindex; those of others stay."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.integration.conftest import Database
from tests.support.stack import Names, detecting_schema, typesense_client, typesense_settings
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.jobs.reindex.further_aliases import FurtherAliases
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.global_artefacts import ALIASES
from tsync_stream.state.artefacts import ArtefactMemory, Remembered

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
async def target(stack: EmbeddedStack) -> AsyncIterator[TypesenseTarget]:
    made = TypesenseTarget(typesense_settings(stack.typesense.port, stack.typesense.api_key))
    yield made
    await made.close()


async def test_ours_follow_and_those_of_others_stay(
    stack: EmbeddedStack, names: Names, state: Database, target: TypesenseTarget
) -> None:
    old, new, ours, elsewhere, theirs = (f"{names.token}_{name}" for name in ("1", "2", "ours", "elsewhere", "theirs"))
    asked: list[str] = []

    def shown(client: httpx.Client) -> list[str]:
        return [client.get(f"/aliases/{alias}").json()["collection_name"] for alias in (ours, elsewhere, theirs)]

    with typesense_client(stack) as client:
        for collection in (old, new):
            client.post("/collections", json=detecting_schema(collection)).raise_for_status()
        for alias, collection in ((ours, old), (elsewhere, "other"), (theirs, old)):
            client.put(f"/aliases/{alias}", json={"collection_name": collection}).raise_for_status()
        memory = ArtefactMemory(state)
        further = FurtherAliases(target, memory)
        await further.follow([old, new], new, lambda: asked.append("lease"))
        assert shown(client) == [old, "other", old]
        await memory.remember([Remembered(ALIASES.many, "", alias, "d", "f") for alias in (ours, elsewhere)])
        for _ in range(2):
            await further.follow([old, new], new, lambda: asked.append("lease"))
            assert shown(client) == [new, "other", old]
        assert asked == ["lease"]
        await further.follow([old, new], old, lambda: None)
        assert shown(client) == [old, "other", old]
