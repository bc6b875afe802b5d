"""What `/health` and its probes answer: as the published schema says, and never a restart for an outage."""

from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from tsync_stream.core import clock
from tsync_stream.core.health import Health
from tsync_stream.observe.conditions import PARTITIONS, ROUTES, SERVERS, STAGES, Condition, State
from tsync_stream.observe.health_report import ReplicaView, health_report, json_schema, ready_report, text

VALIDATOR = jsonschema.Draft202012Validator(json_schema())
SCHEMA = Path("docs/health.schema.json")
WORKING = ReplicaView(
    phase="running",
    replica="host.1",
    member=True,
    partitions_owned=1,
    by_group={
        SERVERS: {"typesense": Condition(State("unreachable", "no answer"), clock.moment())},
        STAGES: {"capture": Condition(State("reading"), clock.moment())},
        ROUTES: {"listings": Condition(State("live"), clock.moment())},
        PARTITIONS: {"0": Condition(State("retrying"), clock.moment())},
    },
)


def health_of(*, fault: str = "", red: str = "") -> Health:
    health = Health()
    if fault:
        health.fault(fault, "no answer; retrying")
    if red:
        health.red(red, "it is refused", needs_person=True)
    return health


def test_the_published_schema_is_current() -> None:
    command = f".venv/bin/python -m tsync_stream.observe.health_report {SCHEMA}"
    assert SCHEMA.read_text(encoding="utf-8") == text(), f"run: {command}"


def test_it_is_a_schema() -> None:
    VALIDATOR.check_schema(json_schema())


@pytest.mark.parametrize("view", [ReplicaView(), WORKING])
def test_every_answer_is_as_the_schema_says(view: ReplicaView) -> None:
    health = health_of(fault="server typesense", red="route orders")
    health.red("tier", "lost")
    health.green("tier")
    answer: dict[str, Any] = health_report(health, view).model_dump(mode="json")
    assert list(VALIDATOR.iter_errors(answer)) == []
    assert [(each["check"], each["level"]) for each in answer["problems"]] == [
        ("route orders", "red"),
        ("server typesense", "degraded"),
    ]
    assert [(each["check"], each["text"]) for each in answer["over"]] == [("tier", "lost")]


def test_an_answer_that_differs_is_refused() -> None:
    answer = health_report(health_of(), WORKING).model_dump(mode="json")
    assert list(VALIDATOR.iter_errors({**answer, "status": "amber"}))
    assert list(VALIDATOR.iter_errors({**answer, "more": 1}))


def test_parts_come_with_their_state_and_since_when(monkeypatch: pytest.MonkeyPatch) -> None:
    began_s = WORKING.by_group[PARTITIONS]["0"].since.on_clock_s
    monkeypatch.setattr(clock, "now_s", lambda: began_s + 12.0)
    report = health_report(health_of(), WORKING)
    (typesense,), (partition,) = report.servers, report.partitions
    assert (typesense.name, typesense.state, typesense.text) == ("typesense", "unreachable", "no answer")
    assert (partition.name, partition.state) == ("0", "retrying")
    assert partition.for_s == 12.0


@pytest.mark.parametrize(
    ("view", "health", "words"),
    [
        (WORKING, health_of(), ""),
        (WORKING, health_of(fault="server mongodb", red="route orders"), ""),  # an outage, and a route's fault
        (ReplicaView(), health_of(fault="start"), "starting: no answer"),
        (WORKING.model_copy(update={"phase": "stopping"}), health_of(), "stopping"),
        (WORKING, health_of(red="settings"), "it is refused"),
        (WORKING.model_copy(update={"member": False}), health_of(), "has not joined"),
        (WORKING.model_copy(update={"member": False}), health_of(fault="routes"), ""),  # it waits in a rolling restart
    ],
)
def test_a_replica_is_ready_unless_it_starts_or_stops_or_has_other_settings(
    view: ReplicaView, health: Health, words: str
) -> None:
    report = ready_report(health, view)
    assert report.ready == (not words)
    assert words in report.text
