"""A sample is read in portions, ends in time, and counts what cannot be shown."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tests.support.schemas import CATCH_ALL, live, plan
from tsync_stream.core import clock
from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.model import Key, Route
from tsync_stream.routes.projector import Projector
from tsync_stream.routes.sampling import KEYS_AT_ONCE, Judge, Rejections, Sample, observe, untyped
from tsync_stream.sink.mapping_plan import MappingOptions
from tsync_stream.source.documents import DocumentReader

ROUTE = Route("r", "d", "c", "t")


class Reader:
    """Reads documents that it makes of their keys; `seconds` pass with each portion of 100."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, document: dict[str, Any], seconds: float = 0.0) -> None:
        self.now_s = 1_000.0
        self.asked: list[int] = []
        self._seconds = seconds
        self._document = document
        monkeypatch.setattr(clock, "now_s", lambda: self.now_s)

    async def read(
        self, _route: Route, groups: Sequence[Sequence[Key]], _not_before: Timestamp
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        self.asked.append(len(groups))
        for first in range(0, len(groups), 100):
            self.now_s += self._seconds
            yield [{"_id": key, **self._document} for (key,) in groups[first : first + 100]]

    async def sample(self, count: int, judge: Judge | None = None) -> Sample:
        reader = cast(DocumentReader, self)
        projector = untyped(MappingOptions(), "t")
        return await observe(reader, ROUTE, range(count), projector, self.now_s + 10, judge)


async def test_all_keys_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(monkeypatch, {"n": 1})
    sample = await reader.sample(2 * KEYS_AT_ONCE + 5)
    assert reader.asked == [KEYS_AT_ONCE, KEYS_AT_ONCE, 5]
    assert (sample.documents, sample.complete) == (2 * KEYS_AT_ONCE + 5, True)
    assert sample.observations.paths["n"].documents == sample.documents


async def test_it_ends_in_time_even_within_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = await Reader(monkeypatch, {"n": 1}, seconds=4.0).sample(KEYS_AT_ONCE)
    assert (sample.documents, sample.complete) == (200, False)


async def test_a_part_is_read_even_if_there_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = await Reader(monkeypatch, {"n": 1}, seconds=100.0).sample(KEYS_AT_ONCE)
    assert (sample.documents, sample.complete) == (100, False)


async def test_what_cannot_be_shown_is_counted_with_some_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = await Reader(monkeypatch, {" blank": "a secret"}).sample(50)
    (what,) = sample.rejections.counts
    assert what[0] == "unusable field name"
    assert sample.rejections.counts[what] == 50
    assert sample.rejections.examples[what] == [0, 1, 2]
    assert sample.observations.documents == 0


async def test_what_a_schema_refuses_is_counted_and_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge(Projector(plan(("n", "string[]"), CATCH_ALL)), live(("n", "bool"), CATCH_ALL))
    sample = await Reader(monkeypatch, {"n": 1}).sample(50, judge)
    assert list(sample.rejections.counts) == [
        ("rejected by Typesense", "field `n` is bool in the schema, and this is no bool")
    ]
    assert sample.observations.paths["n"].documents == 50


def test_reasons_are_bounded() -> None:
    rejections = Rejections()
    for number in range(1_000):
        rejections.add(DocumentRejected("a reason", f"field {number}"), number)
    assert len(rejections.counts) <= 101
    assert rejections.counts["a reason", "other fields"] == 900
