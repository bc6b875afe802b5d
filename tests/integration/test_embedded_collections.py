"""What the embedded stack creates for a newcomer: the collections of all routes, those of children with pre-images."""

from typing import Any

from tests.support.stack import Names, mongo_client
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.embedded.environment import create_missing


def test_missing_collections_are_created_and_others_stay_as_they_are(stack: EmbeddedStack, names: Names) -> None:
    orders, items, reviews = [(names.database, name) for name in ("orders", "items", "reviews")]
    with mongo_client(stack) as client:
        database = client[names.database]
        database.create_collection("items", capped=True, size=4096)
        for _ in range(2):
            create_missing(stack.mongo.uri, [orders, items, reviews], {items, reviews})
        found: dict[str, Any] = {each["name"]: each["options"] for each in database.list_collections()}
    assert set(found) == {"orders", "items", "reviews"}
    assert "changeStreamPreAndPostImages" not in found["orders"]
    assert found["items"] == {"capped": True, "size": 4096}
    assert found["reviews"] == {"changeStreamPreAndPostImages": {"enabled": True}}
