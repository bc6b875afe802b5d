"""Whether a route can be synced now, asked of real servers: every right that sync needs, and the source."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Client
from tests.support.stack import Names, detecting_schema, typesense_client, typesense_settings
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, RouteUnusable
from tsync_stream.core.model import Route
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.routes.usability import FIRST_PAUSE_S, LONGEST_PAUSE_S, Usability, pause_before_s
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.documents import REPLY_DEADLINE_S, DocumentReader

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

EVERY_RIGHT = ["collections:get", "documents:import", "documents:delete"]


@pytest.fixture
async def route(client: Client, names: Names, stack: EmbeddedStack) -> AsyncIterator[Route]:
    """A route whose source has two documents, and whose Typesense collection exists."""
    made = Route("orders", names.database, names.collection, names.typesense_collection)
    await client[made.database][made.collection].insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 2}])
    with typesense_client(stack) as http:
        http.post("/collections", json=detecting_schema(made.target)).raise_for_status()
    yield made
    await client.drop_database(made.database)


@contextmanager
def api_key(stack: EmbeddedStack, actions: Sequence[str], collection: str) -> Iterator[str]:
    """An API key with these rights in one collection."""
    with typesense_client(stack) as http:
        scope = {"actions": list(actions), "collections": [collection]}
        made = http.post("/keys", json={"description": "a test's", **scope}).raise_for_status().json()
        try:
            yield made["value"]
        finally:
            http.delete(f"/keys/{made['id']}").raise_for_status()


Asking = Callable[..., Usability]


@pytest.fixture
async def asking(client: Client, stack: EmbeddedStack, route: Route) -> AsyncIterator[Asking]:
    """Makes a `Usability` over real servers, with this API key and at this port."""
    targets: list[TypesenseTarget] = []

    def ask(key: str = stack.typesense.api_key, port: int = stack.typesense.port, **declared: Any) -> Usability:
        targets.append(TypesenseTarget(typesense_settings(port, key)))
        table = RouteTable([Declaration(route, **declared)])
        return Usability(table, client, targets[-1], lambda: DocumentReader(client, REPLY_DEADLINE_S))

    yield ask
    for target in targets:
        await target.close()


async def documents(stack: EmbeddedStack, route: Route) -> int:
    with typesense_client(stack) as http:
        return int(http.get(f"/collections/{route.target}").raise_for_status().json()["num_documents"])


async def test_a_route_with_every_right_can_be_synced_and_asking_changes_nothing(
    asking: Asking, stack: EmbeddedStack, route: Route
) -> None:
    with api_key(stack, EVERY_RIGHT, route.target) as key:
        await asking(key).require(route)
    assert await documents(stack, route) == 0


@pytest.mark.parametrize("missing", EVERY_RIGHT)
async def test_a_key_that_lacks_one_right_cannot(
    asking: Asking, stack: EmbeddedStack, route: Route, missing: str
) -> None:
    """Otherwise the route would be resumed and suspended again and again."""
    rights = [right for right in EVERY_RIGHT if right != missing]
    with api_key(stack, rights, route.target) as key, pytest.raises(ConfigurationError, match="TYPESENSE_API_KEY"):
        await asking(key).require(route)


async def test_a_key_for_another_collection_cannot(asking: Asking, stack: EmbeddedStack, route: Route) -> None:
    with (
        api_key(stack, EVERY_RIGHT, "another") as key,
        pytest.raises(ConfigurationError, match="TYPESENSE_API_KEY"),
    ):
        await asking(key).require(route)


async def test_a_missing_collection_cannot(asking: Asking, stack: EmbeddedStack, route: Route) -> None:
    with typesense_client(stack) as http:
        http.delete(f"/collections/{route.target}").raise_for_status()
    with pytest.raises(ConfigurationError, match="no such collection"):
        await asking().require(route)


async def test_a_missing_source_cannot(asking: Asking, client: Client, route: Route) -> None:
    await client[route.database].drop_collection(route.collection)
    with pytest.raises(ConfigurationError, match=r"route orders\): there is no collection"):
        await asking().require(route)


async def test_an_empty_source_can(asking: Asking, client: Client, route: Route) -> None:
    await client[route.database][route.collection].delete_many({})
    await asking().require(route)


async def test_a_transform_that_cannot_be_imported_cannot_until_it_can(
    asking: Asking, route: Route, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = f"written_late_{route.target}"
    asked = asking(transform=f"{module}:listing")
    with pytest.raises(RouteUnusable, match="route orders: transform"):
        await asked.require(route)
    (tmp_path / f"{module}.py").write_text("def listing(document):\n    return document\n")
    await asked.require(route)


async def test_of_a_server_that_does_not_answer_nobody_knows(
    asking: Asking, route: Route, unused_tcp_port_factory: Callable[[], int]
) -> None:
    with pytest.raises(DependencyUnavailable):
        await asking(port=unused_tcp_port_factory()).require(route)


def test_a_route_that_is_suspended_again_and_again_waits_longer() -> None:
    assert [pause_before_s(times) for times in (0, 1, 2, 3, 50)] == [
        FIRST_PAUSE_S,
        FIRST_PAUSE_S,
        2 * FIRST_PAUSE_S,
        4 * FIRST_PAUSE_S,
        LONGEST_PAUSE_S,
    ]
