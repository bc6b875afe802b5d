"""Changes that go on while both sides are compared."""

from contextlib import AbstractContextManager

from tests.acceptance.conftest import Source
from tests.support.background import repeated


def changing(source: Source) -> AbstractContextManager[None]:
    """Insert, change and delete documents as long as the block runs, some of them many times."""

    def step(number: int) -> None:
        # 61 is coprime to the other numbers, so everything happens to every document; and each soon has its earlier
        # content again.
        key = f"live {number % 61}"
        if number % 5 == 0:
            source.delete_one({"_id": key})
        else:
            source.update_one({"_id": key}, {"$set": {"amount": number % 2}}, upsert=True)

    return repeated(step)
