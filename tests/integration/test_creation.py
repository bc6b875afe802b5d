"""A missing target is created behind an alias, on a real Typesense."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.support.stack import Names, detecting_schema, typesense_client, typesense_settings
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.creation import create_behind_alias

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def typesense(stack: EmbeddedStack) -> Iterator[httpx.Client]:
    with typesense_client(stack) as client:
        yield client


@asynccontextmanager
async def target_with(stack: EmbeddedStack, key: str = "") -> AsyncIterator[TypesenseTarget]:
    target = TypesenseTarget(typesense_settings(stack.typesense.port, key or stack.typesense.api_key))
    try:
        yield target
    finally:
        await target.close()


def created(stack: EmbeddedStack, schema: dict[str, Any], key: str = "") -> str:
    """The name of the collection that was created."""

    async def create() -> str:
        async with target_with(stack, key) as target:
            return str((await create_behind_alias(target, schema))["name"])

    return asyncio.run(create())


def alias_of(typesense: httpx.Client, name: str) -> str | None:
    answer = typesense.get(f"/aliases/{name}")
    return (
        None
        if answer.status_code == httpx.codes.NOT_FOUND
        else str(answer.raise_for_status().json()["collection_name"])
    )


def test_the_target_is_an_alias_of_its_first_collection(
    stack: EmbeddedStack, names: Names, typesense: httpx.Client
) -> None:
    name = names.typesense_collection
    assert created(stack, detecting_schema(name)) == f"{name}_1"
    assert alias_of(typesense, name) == f"{name}_1"
    typesense.post(f"/collections/{name}/documents", json={"id": "1", "title": "one"}).raise_for_status()
    assert typesense.get(f"/collections/{name}_1").json()["num_documents"] == 1


def test_what_the_alias_names_is_created_again(stack: EmbeddedStack, names: Names, typesense: httpx.Client) -> None:
    name = names.typesense_collection
    typesense.put(f"/aliases/{name}", json={"collection_name": f"{name}_7"}).raise_for_status()
    assert created(stack, detecting_schema(name)) == f"{name}_7"
    typesense.delete(f"/collections/{name}").raise_for_status()  # of the collection: the alias stays
    assert created(stack, detecting_schema(name)) == f"{name}_7"


def test_a_collection_of_somebody_elses_is_left_alone(
    stack: EmbeddedStack, names: Names, typesense: httpx.Client
) -> None:
    name = names.typesense_collection
    for number in (1, 2):
        typesense.post("/collections", json=detecting_schema(f"{name}_{number}")).raise_for_status()
    assert created(stack, detecting_schema(name)) == f"{name}_3"
    assert alias_of(typesense, name) == f"{name}_3"


ALL_BUT_ALIASES = ["collections:*", "documents:*"]


@pytest.mark.parametrize(
    ("actions", "numbered"),
    [(ALL_BUT_ALIASES, True), ([*ALL_BUT_ALIASES, "aliases:get"], True), ([*ALL_BUT_ALIASES, "aliases:*"], False)],
    ids=["no aliases", "no new aliases", "one collection"],
)
def test_a_key_that_may_not_do_so_creates_the_collection_itself(
    stack: EmbeddedStack, names: Names, typesense: httpx.Client, actions: list[str], *, numbered: bool
) -> None:
    name = names.typesense_collection
    collections = [name, *([f"{name}_[0-9]+"] if numbered else [])]
    body = {"description": "test", "actions": actions, "collections": collections}
    made = typesense.post("/keys", json=body).raise_for_status().json()
    try:
        assert created(stack, detecting_schema(name), made["value"]) == name
    finally:
        typesense.delete(f"/keys/{made['id']}").raise_for_status()
    assert alias_of(typesense, name) is None


def test_a_refused_schema_is_tried_again_under_the_same_name(
    stack: EmbeddedStack, names: Names, typesense: httpx.Client
) -> None:
    name = names.typesense_collection
    with pytest.raises(ConfigurationError, match="refuses the schema"):
        created(stack, {"name": name, "fields": [{"name": "a", "type": "wrong"}]})
    assert created(stack, detecting_schema(name)) == f"{name}_1"
