"""Documents whose values detection by the first value would refuse or show wrongly, and the conflicts in them."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

PARIS = [2.35, 48.85]
POINT = {"type": "Point", "coordinates": PARIS}
SHAPE = {"type": "LineString", "coordinates": [PARIS, [12.5, 41.9]]}
A_DATE = datetime(2024, 5, 6, tzinfo=UTC)

# For each field, values that detection by the first value would refuse, or show wrongly.
PLANTED: dict[str, list[Any]] = {
    "whole_and_fraction": [4, 4.5, Decimal128("1.25"), Int64(2**40)],
    "one_and_many": ["a", ["b", "c"], []],
    "numbers_one_and_many": [1, [2, 3.5]],
    "number_and_text": [5, "five", 5.5, True, A_DATE, ObjectId("65a1b2c3d4e5f60718293a4b")],
    "zeros": ["007", "7", "1234"],
    "place": [POINT, {"type": "Point", "coordinates": [13, 52]}],
    "lat_lng": [{"lat": 48.85, "lng": 2.35}, {"lat": 48, "lng": 2}],
    "place_and_shape": [POINT, SHAPE],
    "places": [POINT, [POINT, POINT], []],
    "date": [A_DATE, A_DATE + timedelta(days=1)],
    "date_and_number": [A_DATE, 17],
    "date_and_text": [A_DATE, "2024-05-06"],
    "large": [2**53 + 1, -(2**63)],
    "object_and_text": [{"a": 1}, "text", [{"a": "x"}, 7]],
    "object_and_objects": [{"a": 1, "at": POINT, "inner": {"b": "x"}}, [{"a": 1.5}, {"inner": {"b": ["y"]}}], []],
    "deep": [{"a": {"b": 1}}, {"a": {"b": [2, "x"]}}, {"a": {}}, {}],
    "messy_inside": [{"a": {"b": 1}, "c": 1}, {"a": 7}],
    "arrays_in_arrays": [[[1, 2], [3]], [[4]]],
    "mixed_array": [[1, "a", True], ["b"]],
    "only_empty": [[], []],
    "c+d (e)": [{"x": 1}, 5],
    "c.d": [1, "x"],
    "data": [{f"2024-{number}": number for number in range(300)}, {"2024-1": "x"}],
}
CONFLICTS = {
    "whole_and_fraction",
    "one_and_many",
    "numbers_one_and_many",
    "number_and_text",
    "zeros",
    "place_and_shape",
    "places",
    "date_and_number",
    "date_and_text",
    "object_and_text",
    "object_and_objects",
    "object_and_objects.a",
    "deep.a.b",
    "messy_inside.a",
    "arrays_in_arrays",
    "mixed_array",
    "c+d (e)",
    "c.d",
    "data",
}


def planted(seed: int) -> list[dict[str, Any]]:
    """Documents with every planted value, in a random order."""
    rows = max(map(len, PLANTED.values()))
    documents: list[dict[str, Any]] = [
        {"_id": number, **{name: values[number] for name, values in PLANTED.items() if number < len(values)}}
        for number in range(rows)
    ]
    random.Random(seed).shuffle(documents)
    return documents
