"""Adding fields to a live collection: what is waited for, what is refused, and what is not repeated."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.support.fake_typesense import Asked, fake_typesense
from tests.support.stack import typesense_settings
from tests.support.waiting import HANG_S
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.sink import schema_change
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.errors import CollectionMissing
from tsync_stream.sink.schema_change import FieldsRefused, add_fields

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CITY = {"name": "city", "type": "string", "optional": True}
PRICE = {"name": "price", "type": "float", "optional": True}
BUSY = (422, "Another collection update operation is in progress.")
DONE = (200, "")


@dataclass
class Typesense:
    """A collection, and what it answers to one PATCH after the other: a status and words, or a function that does."""

    patches: list[Any]
    fields: list[dict[str, Any]] = field(default_factory=list)
    missing: bool = False
    told: list[str] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)

    async def __call__(self, asked: Asked) -> web.Response | None:
        assert asked.path == "/collections/homes_1"
        if asked.method == "GET":
            if self.missing:
                return web.json_response({"message": "Not Found"}, status=404)
            return web.json_response({"name": "homes_1", "created_at": 1, "num_documents": 0, "fields": self.fields})
        self.asked.append(asked.body)
        status, words = self.patches.pop(0)
        if status == 200:
            self.fields += orjson.loads(asked.body)["fields"]
            return web.json_response({})
        if status is None:
            self.fields += orjson.loads(asked.body)["fields"] if words == "done all the same" else []
            return None
        return web.json_response({"message": words}, status=status)

    async def add(self, *fields: dict[str, Any], wait_s: float = 30.0) -> None:
        async with fake_typesense(self) as server:
            target = TypesenseTarget(typesense_settings(server.port, "key"))
            try:
                await add_fields(target, "homes_1", fields or [CITY], self.told.append, wait_s)
            finally:
                await target.close()


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_change, "LOOK_INTERVAL_S", 0.01)


async def test_all_fields_are_added_by_one_request() -> None:
    typesense = Typesense([DONE])
    await typesense.add(CITY, PRICE)
    assert typesense.fields == [CITY, PRICE]
    assert orjson.loads(typesense.asked[0]) == {"fields": [CITY, PRICE]}
    assert typesense.told == []


async def test_what_is_there_already_is_not_added_again() -> None:
    typesense = Typesense([], [CITY])
    await typesense.add()
    assert typesense.asked == []


async def test_another_running_change_is_waited_for_and_told_once() -> None:
    typesense = Typesense([BUSY, BUSY, BUSY, DONE])
    await typesense.add()
    assert len(typesense.asked) == 4
    (told,) = typesense.told
    assert "somebody is changing the schema of the collection; trying again for 30 s at most" in told


async def test_waiting_is_bounded() -> None:
    typesense = Typesense([BUSY] * 1_000)
    with pytest.raises(DependencyUnavailable):
        await asyncio.wait_for(typesense.add(wait_s=0.1), HANG_S)
    assert typesense.fields == []


async def test_a_request_that_was_done_although_its_answer_was_lost_is_not_repeated() -> None:
    typesense = Typesense([(None, "done all the same")])
    await typesense.add()
    assert typesense.fields == [CITY]
    assert len(typesense.asked) == 1


async def test_a_request_that_was_lost_is_sent_again() -> None:
    typesense = Typesense([(None, "lost"), DONE])
    await typesense.add()
    assert typesense.fields == [CITY]


INCOMPATIBLE = "Schema change is incompatible with the type of documents already stored in this collection."
COERCED = f"{INCOMPATIBLE} Existing data for field `city` cannot be coerced into an int64."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (COERCED, f"Typesense refuses it: {COERCED}"),
        (f"{INCOMPATIBLE} error: secret", f"Typesense refuses it: {INCOMPATIBLE}"),
        ("Bad JSON in document: {secret}", "Typesense refuses it, because of a stored document."),
    ],
)
async def test_a_refusal_is_said_without_a_documents_content(words: str, said: str) -> None:
    with pytest.raises(FieldsRefused) as refused:
        await Typesense([(400, words)]).add()
    assert str(refused.value) == said


async def test_a_collection_that_is_gone_or_has_half_of_the_fields_is_left_alone() -> None:
    with pytest.raises(CollectionMissing):
        await Typesense([], missing=True).add()
    typesense = Typesense([], [CITY])
    with pytest.raises(ConfigurationError, match="has some of the fields meanwhile"):
        await typesense.add(CITY, PRICE)
    assert typesense.asked == []


async def test_a_key_that_may_not_is_no_reason_to_wait() -> None:
    typesense = Typesense([(401, "Forbidden - a valid `x-typesense-api-key` header must be sent.")])
    with pytest.raises(ConfigurationError, match="TYPESENSE_API_KEY"):
        await typesense.add()
    assert typesense.told == []
