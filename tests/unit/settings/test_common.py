"""The settings that replicas must share: every setting is in one class, and values are compared by their meaning."""

import json
from pathlib import Path

import pytest

from tsync_stream.settings.common import COMMON, OWN, PLACE, common_settings, differences, digest
from tsync_stream.settings.load import load_settings
from tsync_stream.settings.table import SETTINGS


def common(directory: Path, **environment: str) -> dict[str, str]:
    return common_settings(load_settings(directory, environment))


def test_every_setting_is_in_exactly_one_class() -> None:
    names = {setting.name for setting in SETTINGS}
    classes = [*COMMON, *OWN, *PLACE]
    assert sorted(classes) == sorted(names), "a new setting belongs to COMMON, OWN or PLACE of settings/common.py"


def test_no_secret_is_compared() -> None:
    assert not {setting.name for setting in SETTINGS if setting.form.secret} & set(COMMON)


def test_docs_list_what_must_be_in_common() -> None:
    page = Path("docs/settings.md").read_text(encoding="utf-8")
    text = page[page.index("must have in common") : page.index("## MongoDB")]
    for name in COMMON:
        tier, _, rest = name.partition("_REDIS_")
        shown = name if not rest else f"{tier}_REDIS_*"
        assert f"`{name}`" in text or (rest and f"`{rest}`" in text and f"`{shown}`" in text), name


@pytest.mark.parametrize(
    "environment",
    [
        {"LEASE_TTL": "15000ms"},
        {"PRIMARY_REDIS_HOST": "LocalHost"},
        {"TYPESENSE_API_KEY": "another", "BACKUP_REDIS_PASSWORD": "another"},
        {"MONGODB_URI": "mongodb://other,names/?replicaSet=rs0"},
        {"BATCH_SIZE": "7", "LOG_LEVEL": "DEBUG", "MASS_DELETE_SHARE": "1"},
    ],
)
def test_equal_meanings_and_settings_of_one_replica_make_no_difference(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    assert common(tmp_path, **environment) == common(tmp_path)
    assert digest(common(tmp_path, **environment)) == digest(common(tmp_path))


def test_nodes_may_be_named_in_any_order(tmp_path: Path) -> None:
    assert common(tmp_path, TYPESENSE_HOST="a,b,C") == common(tmp_path, TYPESENSE_HOST="c,a,B")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATE_UNIT", "ms", "DATE_UNIT is ms here, and s there"),
        ("LEASE_TTL", "20s", "LEASE_TTL is 20s here, and 15s there"),
        ("PARTITIONS", "4", "PARTITIONS is 4 here, and 8 there"),
        ("TYPESENSE_HOST", "a,b", "TYPESENSE_HOST is a,b here, and localhost there"),
        ("TYPESENSE_CONNECTION_TIMEOUT", "1s", "TYPESENSE_CONNECTION_TIMEOUT is 1s here, and 5s there"),
        ("BACKUP_REDIS_DB", "3", "BACKUP_REDIS_DB is 3 here, and 0 there"),
    ],
)
def test_a_difference_names_the_setting_and_both_values(tmp_path: Path, name: str, value: str, says: str) -> None:
    assert differences(common(tmp_path), common(tmp_path, **{name: value})) == [says]
    assert digest(common(tmp_path)) != digest(common(tmp_path, **{name: value}))


def test_a_schema_file_counts_by_its_content(tmp_path: Path) -> None:
    schema = {"name": "x", "fields": [{"name": "a", "type": "int32"}]}
    texts = {"one": json.dumps(schema), "laid out": json.dumps(schema, indent=4), "other": '{"fields": []}'}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    found = {name: common(tmp_path, TYPESENSE_SCHEMA_FILE=name) for name in texts}
    assert found["one"] == found["laid out"]
    (difference,) = differences(found["one"], found["other"])
    assert difference.startswith("TYPESENSE_SCHEMA_FILE is a file with the digest ")
    (difference,) = differences(common(tmp_path), found["one"])
    assert difference.endswith("and empty there")


def test_a_setting_that_another_version_does_not_know_makes_no_difference() -> None:
    assert differences({"A": "1", "B": "2"}, {"A": "1", "C": "3"}) == []
