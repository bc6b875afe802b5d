"""Sample documents of about 1 KB, the same for the same seed."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from bson.decimal128 import Decimal128

_CITIES = ("Lisbon", "Graz", "Tartu", "Ghent", "Turin", "Bergen")
_WORDS = ("bright", "quiet", "corner", "garden", "loft", "harbour", "terrace", "stone", "attic", "river")


def listing(number: int, generator: random.Random) -> dict[str, Any]:
    """One listing; `number` makes it unique."""
    text = " ".join(generator.choices(_WORDS, k=110))
    return {
        "title": f"{generator.choice(_WORDS)} {generator.choice(_WORDS)} {number}",
        "description": text,
        "number": number,
        "price": round(generator.uniform(300, 3000), 2) + 0.001,
        "rooms": generator.randint(1, 7),
        "furnished": generator.random() < 0.5,
        "tags": generator.sample(_WORDS, 3),
        "address": {"city": generator.choice(_CITIES), "zip": str(10_000 + number % 90_000)},
        "position": {"type": "Point", "coordinates": [generator.uniform(-9, 9), generator.uniform(40, 60)]},
        "deposit": Decimal128(f"{generator.randint(100, 900)}.25"),
        "listed": datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
        "removed": None,
    }


def listings(count: int, seed: int = 1, first: int = 0) -> list[dict[str, Any]]:
    """`count` listings, numbered from `first`."""
    generator = random.Random(seed)
    return [listing(number, generator) for number in range(first, first + count)]
