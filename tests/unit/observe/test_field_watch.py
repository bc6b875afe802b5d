"""Many fields are reported before they slow Typesense down, with what to leave out."""

import pytest

from tests.support.schemas import plan
from tsync_stream.core.health import Health
from tsync_stream.observe.field_watch import CHECK, report_fields
from tsync_stream.settings.load import Settings, load_settings
from tsync_stream.sink.many_fields import MANY_FIELDS


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(tmp_path_factory.mktemp("settings"), {"TYPESENSE_MAX_FIELDS": "3000"})


def reported(settings: Settings, *names: str) -> tuple[str, str]:
    """The level and the text of the health check for these fields."""
    health = Health()
    shown = plan(*((name, "int64") for name in names), (".*", "auto")).types
    report_fields(health, CHECK, "listings", shown, settings.max_fields)
    problem = health.problems.get("fields")
    return ("green", "") if problem is None else (problem.level, problem.text)


def inside(count: int) -> list[str]:
    return [f"prices.2024-{number}" for number in range(count)]


def test_few_fields_are_green(settings: Settings) -> None:
    assert reported(settings, *inside(MANY_FIELDS - 1)) == ("green", "")


def test_a_thousand_make_health_degraded_and_the_text_says_which_object_to_leave_out(settings: Settings) -> None:
    level, text = reported(settings, "title", *inside(MANY_FIELDS))
    assert level == "degraded"
    assert "has 1,001 fields" in text
    assert "1,000 of them are inside `prices`" in text
    assert '{"name": "prices.*", "type": "auto", "index": false, "optional": true}' in text


def test_it_is_red_from_the_setting_on(settings: Settings) -> None:
    assert reported(settings, *inside(2999))[0] == "degraded"
    level, text = reported(settings, *inside(3000))
    assert level == "red"
    assert "TYPESENSE_MAX_FIELDS (3,000)" in text


def test_a_limit_below_a_thousand_counts_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = load_settings(tmp_path_factory.mktemp("settings"), {"TYPESENSE_MAX_FIELDS": "10"})
    assert reported(settings, *inside(10))[0] == "red"


def test_fields_at_the_top_are_named_in_a_schema_file(settings: Settings) -> None:
    _, text = reported(settings, *(f"field {number}" for number in range(MANY_FIELDS)))
    assert "TYPESENSE_SCHEMA_FILE" in text
    assert "inside" not in text


def test_it_is_green_again_when_the_fields_are_gone(settings: Settings) -> None:
    health = Health()
    report_fields(health, CHECK, "listings", inside(MANY_FIELDS), settings.max_fields)
    assert health.status == "degraded"
    report_fields(health, CHECK, "listings", inside(5), settings.max_fields)
    assert health.status == "green"
