"""In which state parts are, and since when."""

from typing import Any

import pytest

from tests.support.lanes import EPOCH, START
from tsync_stream.core import clock
from tsync_stream.core.health import Health
from tsync_stream.observe.conditions import Conditions, State, routes, servers, worst
from tsync_stream.state.pipeline import Pipeline
from tsync_stream.state.route_state import ReconcileNeed, RouteState, suspended_state


def test_a_state_lasts_since_its_word_changed_and_a_part_that_is_gone_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 100.0
    monkeypatch.setattr(clock, "now_s", lambda: now_s)
    seen: dict[str, dict[str, State]] = {"servers": {"a": State("away", "reset"), "b": State("here")}}
    conditions = Conditions(lambda: seen)
    conditions.look()
    now_s = 105.0
    seen = {"servers": {"a": State("away", "no answer"), "c": State("here")}}
    conditions.look()
    now_s = 106.0
    found = {name: (each.state.text, each.since.for_s()) for name, each in conditions.by_group["servers"].items()}
    assert found == {"a": ("no answer", 6.0), "c": ("", 1.0)}
    assert repr(conditions) == "<Conditions of 2 servers>"


def test_a_server_is_what_its_check_says() -> None:
    health = Health()
    health.fault("server typesense", "no answer")
    health.degraded("server backup", "BACKUP_REDIS_PASSWORD is refused", needs_person=True)
    found = servers({name: f"server {name}" for name in ("mongodb", "typesense", "backup")}, health)
    assert {name: state.word for name, state in found.items()} == {
        "mongodb": "reachable",
        "typesense": "unreachable",
        "backup": "refusing",
    }
    assert found["typesense"].text == "no answer"


def test_a_route_is_what_the_epoch_document_says() -> None:
    states: dict[str, Any] = {
        "a": RouteState({}),
        "b": RouteState({}, ReconcileNeed("job", "first start")),
        "c": suspended_state(RouteState({}), "the key is refused"),
    }
    pipeline = Pipeline(EPOCH, 1, 2, START, START, states)
    assert routes(dict.fromkeys("abcd"), pipeline) == {
        "a": State("live"),
        "b": State("reconciling", "first start"),
        "c": State("suspended", "the key is refused"),
        "d": State("unknown"),
    }
    assert routes({"a": None}, None) == {"a": State("unknown")}


@pytest.mark.parametrize(
    ("words", "word"),
    [({}, "standby"), ({0: "working"}, "working"), ({0: "working", 1: "retrying", 2: "claiming"}, "retrying")],
)
def test_a_stage_is_as_its_worst_partition(words: dict[int, str], word: str) -> None:
    assert worst(words, ("retrying", "claiming", "working", "standby")) == State(word)
