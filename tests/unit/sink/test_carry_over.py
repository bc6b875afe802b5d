"""After a carry-over both collections are compared: what is late is waited for, what differs is a failure."""

from collections.abc import Iterator
from typing import Any, cast

import pytest

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.sink import carry_over
from tsync_stream.sink.client import TypesenseTarget

NOBODY = cast("TypesenseTarget", None)
CARRIED = {"synonyms": ["coats"]}


def compared(monkeypatch: pytest.MonkeyPatch, answers: Iterator[list[str]]) -> None:
    async def carries(*_: Any) -> dict[str, list[str]]:
        return CARRIED

    async def differs(*_: Any) -> list[str]:
        return next(answers)

    monkeypatch.setattr(carry_over, "carry_over", carries)
    monkeypatch.setattr(carry_over, "differences", differs)
    monkeypatch.setattr(carry_over, "LOOK_S", 0.0)


async def test_what_a_node_shows_a_little_later_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    compared(monkeypatch, iter([["synonym `a` is missing in c_2"]] * 2 + [[]]))
    assert await carry_over.carry_over_and_compare(NOBODY, "c_1", "c_2") == CARRIED


async def test_a_difference_that_stays_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"synonym `{name}` is missing in c_2" for name in "abcdefg"]
    compared(monkeypatch, iter([many] * carry_over.LOOKS))
    with pytest.raises(ConfigurationError, match=r"differs: synonym `a` is .* and 2 more$"):
        await carry_over.carry_over_and_compare(NOBODY, "c_1", "c_2")
