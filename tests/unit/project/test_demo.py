"""The pure parts of the demo: its listings, its search field, and which variables it respects."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tsync_stream.demo.keyboard import typed
from tsync_stream.demo.listings import POPULATION, listing, next_kind
from tsync_stream.demo.servers import demo_settings, tuning
from tsync_stream.demo.view import hit_text


def test_the_population_grows_to_its_size_and_stays_there() -> None:
    generator = random.Random(1)
    population = 0
    seen: Counter[str] = Counter()
    for _ in range(5000):
        kind = next_kind(population, generator)
        seen[kind] += 1
        population += {"insert": 1, "update": 0, "delete": -1}[kind]
        assert population >= 0
    assert abs(population - POPULATION) < 30
    assert min(seen.values()) > 500


def test_a_hit_is_one_line() -> None:
    document = listing(1, random.Random(1)) | {"title": "Quiet loft", "rooms": 1, "price": 1250}
    assert hit_text(document) == f"Quiet loft, {document['address']['city']}: 1 room, 1,250 €"


@pytest.mark.parametrize(
    ("query", "keys", "after"),
    [
        ("", "loft", "loft"),
        ("loft", "\x7f", "lof"),
        ("loft", "s\n\x7f\x7fty", "lofty"),
        ("", "\x7f", ""),
        ("loft", "\x15", ""),
        ("loft", "\x1b", ""),
        ("loft", "\x1b[A", "loft"),
        ("", "x" * 100, "x" * 60),
    ],
)
def test_typing_makes_a_query(query: str, keys: str, after: str) -> None:
    assert typed(query, keys) == after


def test_variables_that_name_a_server_are_ignored(tmp_path: Path) -> None:
    environ = {
        "MONGODB_URI": "mongodb://elsewhere",
        "BACKUP_REDIS_HOST": "elsewhere",
        "TYPESENSE_API_KEY": "secret",
        "STATE_DATABASE": "elsewhere",
        "HOME": "/home/ada",
        "BATCH_SIZE": "7",
        "MONGOD_EXECUTABLE": "",
    }
    assert tuning(environ) == {"BATCH_SIZE": "7", "MONGOD_EXECUTABLE": ""}
    settings = demo_settings({**environ, "TSYNC_EMBEDDED_DIR": str(tmp_path)})
    assert settings.buffer.batch_size == 7
    assert settings.mongo.uri == "mongodb://localhost:27017"
    assert settings.typesense.api_key == "xyz"
    assert settings.embedded_dir == tmp_path
