"""What changed between two readings of the settings, and what a running worker takes up of it."""

from pathlib import Path

import pytest

from tsync_stream.settings.common import COMMON, PLACE
from tsync_stream.settings.difference import Difference, difference, with_changes
from tsync_stream.settings.effects import AT_ONCE, STAGES, effect_of
from tsync_stream.settings.in_force import InForce, files_of
from tsync_stream.settings.load import Settings, load_settings
from tsync_stream.settings.rules import RULES
from tsync_stream.settings.table import SETTINGS

ROUTES = "routes:\n  a: {source: shop.a, target: a}\n"


def settings(directory: Path, **values: str) -> Settings:
    return load_settings(directory, values)


def test_the_effects_name_settings_and_none_that_replicas_must_share() -> None:
    assert {setting.name for setting in SETTINGS} >= AT_ONCE | STAGES
    assert not AT_ONCE & STAGES
    # Of the routes file, replicas may have different versions for a while; one place may have several URIs.
    assert (AT_ONCE | STAGES) & ({*COMMON} | PLACE) == {"ROUTES_FILE", "MONGODB_URI", "MONGODB_URI_FILE"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: " ".join(rule.names[:2]))
def test_settings_that_depend_on_each_other_change_together(rule: object) -> None:
    """Otherwise one that waits for a restart could contradict one that is taken up."""
    names = getattr(rule, "names", ())
    assert len({effect_of(name) == "restart" for name in names}) == 1


def test_nothing_differs_from_itself(tmp_path: Path) -> None:
    before = settings(tmp_path, BATCH_SIZE="7")
    assert not difference(before, settings(tmp_path, BATCH_SIZE="7"))
    assert with_changes(before, before, []) == before


def test_what_changed_is_sorted_by_when_it_takes_effect(tmp_path: Path) -> None:
    before = settings(tmp_path)
    after = settings(
        tmp_path, LOG_LEVEL="DEBUG", BATCH_SIZE="7", PARTITIONS="4", PRIMARY_REDIS_TLS="true", TYPESENSE_API_KEY="new"
    )
    differs = difference(before, after)
    assert differs.at_once == ("TYPESENSE_API_KEY", "LOG_LEVEL")
    assert differs.stages == ("BATCH_SIZE", "PRIMARY_REDIS_TLS")
    assert differs.restart == ("PARTITIONS",)
    taken = with_changes(before, after, [*differs.at_once, *differs.stages])
    assert (taken.buffer.batch_size, taken.primary_redis.use_tls, taken.typesense.api_key) == (7, True, "new")
    assert taken.partitions == before.partitions
    assert difference(taken, after) == Difference(restart=("PARTITIONS",))


def test_a_secret_from_a_file_is_left_to_whoever_watches_the_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    before = settings(tmp_path, TYPESENSE_API_KEY_FILE=str(file))
    file.write_text("new")
    after = settings(tmp_path, TYPESENSE_API_KEY_FILE=str(file))
    assert not difference(before, after)
    assert with_changes(before, after, []).typesense.api_key == "new"


def test_a_connection_string_is_watched_in_its_file_by_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "uri"
    file.write_text("mongodb://one")
    before = settings(tmp_path, MONGODB_URI_FILE=str(file))
    file.write_text("mongodb://two")
    after = settings(tmp_path, MONGODB_URI_FILE=str(file))
    assert difference(before, after).stages == ("MONGODB_URI",)
    assert with_changes(before, after, []).mongo.uri == "mongodb://one"


def test_whether_there_is_a_routes_file_needs_a_restart_and_its_content_does_not(tmp_path: Path) -> None:
    without = settings(tmp_path)
    (tmp_path / "tsync.yaml").write_text(ROUTES)
    before = settings(tmp_path)
    assert "ROUTES_FILE" in difference(without, before).restart
    assert with_changes(without, before, []).routes_file is None
    (tmp_path / "tsync.yaml").write_text(f"# another layout\n{ROUTES}")
    after = settings(tmp_path)
    assert not difference(before, after)
    assert with_changes(before, after, []).routes_file == after.routes_file


def test_names_are_added_once() -> None:
    assert Difference(stages=("A",)).plus(stages=["B", "A"], restart=["C", "C"]) == Difference((), ("A", "B"), ("C",))


def test_the_version_tells_settings_apart_and_knows_no_secret(tmp_path: Path) -> None:
    def version(**values: str) -> str:
        return InForce.at_start(settings(tmp_path, **values)).version

    secrets = ({"TYPESENSE_API_KEY": text, "PRIMARY_REDIS_PASSWORD": text} for text in ("one", "two"))
    assert len({version(**given) for given in secrets}) == 1
    assert version() != version(BATCH_SIZE="7")
    before = version()
    (tmp_path / "tsync.yaml").write_text(ROUTES)
    assert version() != before


def test_the_files_that_settings_name(tmp_path: Path) -> None:
    (tmp_path / "tsync.yaml").write_text(ROUTES)
    (tmp_path / "key").write_text("secret")
    found = files_of(settings(tmp_path, TYPESENSE_API_KEY_FILE="key"))
    assert found == {tmp_path / "tsync.yaml": "ROUTES_FILE", tmp_path / "key": "TYPESENSE_API_KEY_FILE"}
