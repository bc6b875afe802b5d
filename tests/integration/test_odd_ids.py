"""Ids that releases of Typesense read as operators: a request for some documents never affects others.

The real 0.24.1 answers; how other releases read a filter is imitated in front of it.
"""

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import orjson
import pytest

from tests.support.release_server import ReleaseServer
from tests.support.stack import Names, detecting_schema, typesense_settings
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.sink.client import TypesenseTarget

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

RELEASES = ["0.24", "26.1", "28", "29", "30"]
OPERATORS = [
    *("*", "**", " *", "* ", "`*`", "[*]", "*,", "a*"),
    *("a[b", "a]b", "[a]", "[", "]", "x]||id:*||id:[y,", "x]||id:[*,", "x] && id:!=[y", "x],`*`,[y"),
    *(
        "a,b",
        "a`b",
        "`",
        "``",
        "a\\",
        "a\\`b",
        "\\*",
        "&&",
        "||",
        "a && b",
        "a||b",
        "(a",
        "a)",
        "a:(b",
        "a:[b",
        "a:[(b",
    ),
    *("=a", "!=a", "!a", "-a", ":a", ":", ">1", "$c(id:*)", "!$c(id:*)", "o.{p:1}", "{", "}", '"a"', "'a'", "?a&b=c"),
    *(
        "a/b",
        "../*",
        "%2A",
        "%",
        "+",
        "a b",
        "#",
        "import",
        "export",
        "search",
        "null",
        "0",
        "\t*",
        "*\n",
        "line\nfeed",
    ),
]
CHARACTERS = "*`[](){},:;&|!=<>-$ .\"'\\/%+?#ab0\n\t\u2028é"


@pytest.fixture(params=RELEASES)
def server(request: pytest.FixtureRequest, stack: EmbeddedStack, names: Names) -> Iterator[ReleaseServer]:
    with ReleaseServer(stack.typesense.port, stack.typesense.api_key, request.param) as server:
        yield server


class Collection:
    """One collection, seen through our client."""

    def __init__(self, server: ReleaseServer, names: Names, stack: EmbeddedStack) -> None:
        self.name = names.typesense_collection
        self.target = TypesenseTarget(
            typesense_settings(server.port, stack.typesense.api_key, hosts=server.hosts, collection=self.name)
        )

    async def fill(self, ids: list[str]) -> None:
        await self.target.create_collection(detecting_schema(self.name))
        assert await self.target.import_lines(self.name, [orjson.dumps({"id": name}) for name in ids]) == []

    async def ids(self) -> set[str]:
        return {name async for batch in self.target.export_ids(self.name, 1_000) for name in batch}

    async def found(self, ids: list[str]) -> list[str]:
        async with aclosing(self.target.documents(self.name, ids)) as lines:
            return [orjson.loads(line)["id"] async for line in lines]


@pytest.fixture
async def collection(server: ReleaseServer, names: Names, stack: EmbeddedStack) -> AsyncIterator[Collection]:
    made = Collection(server, names, stack)
    yield made
    await made.target.close()


async def test_an_id_that_looks_like_an_operator_names_only_itself(collection: Collection) -> None:
    left = {"bystander", *OPERATORS}
    await collection.fill(sorted(left))
    for name in OPERATORS:
        assert await collection.found([name, "nobody"]) == [name]
    for name in OPERATORS:
        await collection.target.delete(collection.name, [name, "nobody"])
        left.remove(name)
        assert await collection.ids() == left, name


@pytest.mark.parametrize("seed", range(3))
async def test_requests_affect_exactly_the_named_ids_whatever_their_characters(
    collection: Collection, seed: int
) -> None:
    generator = random.Random(seed)

    def odd() -> str:
        return "".join(generator.choices(CHARACTERS, k=generator.randint(1, 8)))

    ids = list({odd() for _ in range(200)} | set(generator.sample(OPERATORS, 20)))
    asked, others = ids[:100], ids[100:]
    await collection.fill(["bystander", *ids])
    for first in range(0, len(asked), 10):
        some = asked[first : first + 10]
        assert sorted(await collection.found(some)) == sorted(some)
    for first in range(0, len(asked), 10):
        await collection.target.delete(collection.name, asked[first : first + 10])
    assert await collection.ids() == {"bystander", *others}
    assert await collection.found(asked) == []
