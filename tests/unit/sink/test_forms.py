"""Declared forms: what each makes of BSON's values, and the words with which it refuses the others."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.sink.forms import with_form

DATE = datetime(2024, 5, 6, 7, 8, 9, 999_000, UTC)
HEX = "65a1b2c3d4e5f60718293a4b"


@pytest.mark.parametrize(
    ("form", "value", "converted"),
    [
        ("float", 4, 4.0),
        ("float", Int64(4), 4.0),
        ("float", Decimal128("12.5"), 12.5),
        ("float", "12.50", 12.5),
        ("float", "-1e3", -1000.0),
        ("float", [1, None, "2"], [1.0, None, 2.0]),
        ("int32", 4.0, 4),
        ("int32", "-12", -12),
        ("int64", Decimal128("12.0"), 12),
        ("int64", Int64(2**62), 2**62),
        ("string", 12.0, "12"),
        ("string", True, "true"),
        ("string", ObjectId(HEX), HEX),
        ("string", DATE, "2024-05-06T07:08:09.999Z"),
        ("string", ["a", 1], ["a", "1"]),
        ("bool", 1, True),
        ("bool", 0.0, False),
        ("bool", "TRUE", True),
        ("date_s", DATE, 1714979289),
        ("date_ms", DATE, 1714979289999),
        ("date_ms", DatetimeMS(-1), -1),
        ("date_s", DatetimeMS(-1), -1),
        ("date_ms", Timestamp(12, 1), 12_000),
        ("date_s", "2024-05-06T07:08:09.999Z", 1714979289),
        ("date_s", "2024-05-06T09:08:09+02:00", 1714979289),
        ("date_ms", None, None),
    ],
)
def test_a_value_takes_the_declared_form(form: str, value: Any, converted: Any) -> None:
    found = with_form({"_id": 1, "x": value}, "x", form)["x"]
    assert found == converted
    assert type(found) is type(converted)


@pytest.mark.parametrize(
    ("form", "value", "reason"),
    [
        ("float", "about 12", "no number"),
        ("float", True, "no number"),
        ("float", float("nan"), "no number"),
        ("float", "1e999", "no number"),
        ("int64", 4.5, "no whole number"),
        ("int64", "4.5", "no whole number"),
        ("int64", DATE, "no whole number"),
        ("int64", Decimal128("NaN"), "no whole number"),
        ("int32", 2**31, "value out of range"),
        ("int64", "9223372036854775808", "value out of range"),
        ("string", {"a": 1}, "no text"),
        ("string", b"x", "no text"),
        ("bool", 2, "no boolean"),
        ("bool", "yes", "no boolean"),
        ("date_s", 1714979289, "no date"),
        ("date_ms", "yesterday", "no date"),
    ],
)
def test_what_a_form_has_no_place_for_is_refused_without_its_value(form: str, value: Any, reason: str) -> None:
    with pytest.raises(DocumentRejected) as refused:
        with_form({"_id": 1, "x": [value]}, "x", form)
    assert refused.value.reason == reason
    assert refused.value.detail.startswith(f"field `x` is declared as {form.replace('_', ' ')}, and this ")
    assert "about" not in refused.value.detail


def test_a_path_leads_through_objects_and_arrays_and_changes_nothing_else() -> None:
    document = {"_id": 1, "items": [{"price": 1, "n": 1}, {"n": 2}, 3], "price": 1}
    assert with_form(document, "items.price", "float") == {
        "_id": 1,
        "items": [{"price": 1.0, "n": 1}, {"n": 2}, 3],
        "price": 1,
    }
    assert document["items"] == [{"price": 1, "n": 1}, {"n": 2}, 3], "the one that was given stays as it is"
    assert with_form({"_id": 1}, "a.b", "float") == {"_id": 1}
