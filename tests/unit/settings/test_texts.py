"""`.env` is read as shells and people read it, and ignored names are reported."""

from pathlib import Path

import pytest

from tsync_stream.settings.load import load_settings
from tsync_stream.settings.table import SETTINGS
from tsync_stream.settings.texts import hidden, read_texts, unknown_names, unused


def texts_of(directory: Path, dotenv: str) -> dict[str, str]:
    (directory / ".env").write_text(dotenv, encoding="utf-8")
    return read_texts(directory, {})


# ---- .env ----


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=value", "value"),
        (" NAME = value ", "value"),
        ("export NAME=value", "value"),
        ("  export\tNAME = 'value'", "value"),
        ("NAME=s3cret # the old one", "s3cret"),
        ("NAME=s3cret\t# the old one # and more", "s3cret"),
        ("NAME=s3cret#1", "s3cret#1"),
        ("NAME=#s3cret", "#s3cret"),
        ("NAME= # none yet", ""),
        ("NAME='s3cret # 1'", "s3cret # 1"),
        ('NAME="s3cret # 1"', "s3cret # 1"),
        ('NAME="s3cret # 1" # the old one', "s3cret # 1"),
        ("NAME='s3cret'# 1", "'s3cret'# 1"),
        ("export NAME='s3cret' # it's new", "s3cret"),
        ('NAME="a" # \'b"', "a"),
        ("NAME=a=b", "a=b"),
        ("NAME=", ""),
        ("NAME=''", ""),
        ("NAME='", "'"),
    ],
)
def test_the_value_of_a_line(tmp_path: Path, line: str, value: str) -> None:
    assert texts_of(tmp_path, line) == {"NAME": value}


@pytest.mark.parametrize("line", ["", "# NAME=value", "   # export NAME=value", "NAME", "NAME: value"])
def test_a_line_without_a_setting(tmp_path: Path, line: str) -> None:
    assert texts_of(tmp_path, line) == {}


def test_the_last_of_several_lines_counts_with_export_or_without(tmp_path: Path) -> None:
    assert texts_of(tmp_path, "A=1\nexport A=2\nA=3\nexport B=1\nB=2\nexport B=3\n") == {"A": "3", "B": "3"}


def test_a_setting_after_export_counts(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("export PARTITIONS=16\nexport PRIMARY_REDIS_PASSWORD='a # b' # note\n", "utf-8")
    settings = load_settings(tmp_path, {})
    assert (settings.partitions, settings.primary_redis.password) == (16, "a # b")


# ---- names that are none of ours ----


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("PRIMARY_REDIS_POOLSIZE", "PRIMARY_REDIS_POOL_SIZE"),
        ("TYPESENSE_APIKEY", "TYPESENSE_API_KEY"),
        ("TYPESENSE_HOSTS", "TYPESENSE_HOST"),
        ("MONGODB_URL", "MONGODB_URI"),
        ("MONGO_URI", "MONGODB_URI"),
        ("MONGO_DATABASE", "MONGODB_DATABASE"),
        ("BATCHSIZE", "BATCH_SIZE"),
        ("lease_ttl", "LEASE_TTL"),
        ("TSYNC_EMBED", "TSYNC_EMBEDDED"),
    ],
)
def test_a_misspelt_name_is_reported(name: str, likely: str) -> None:
    assert unknown_names({name: "s3cret"}) == [f"{name} is not a setting and is ignored; did you mean {likely}?"]


def test_a_name_with_our_prefix_is_reported_even_if_it_resembles_none() -> None:
    assert unknown_names({"TSYNC_QUX": ""}) == ["TSYNC_QUX is not a setting and is ignored"]


def test_names_of_others_and_service_links_are_left_alone() -> None:
    others = ["PATH", "HOME", "LANG", "VIRTUAL_ENV", "REDIS_HOST", "PORT", "DATABASE_URL", "HTTP_PROXY"]
    links = ["TYPESENSE_SERVICE_HOST", "TYPESENSE_SERVICE_PORT_HTTP", "TYPESENSE_PORT_8108_TCP_ADDR"]
    ours = [setting.name for setting in SETTINGS]
    assert unknown_names(dict.fromkeys([*others, *links, *ours], "")) == []
    assert unknown_names({"MONGO_PORT": "tcp://10.0.0.1:27017"}) == []


def test_ignored_lines_of_the_file_are_reported_without_values(tmp_path: Path) -> None:
    lines = [
        "# ours",
        "export PARTITIONS=16",
        "REDIS_PASSWORD=s3cret",
        "MONGODB_URI: mongodb://user:s3cret@db",
        "",
        "X=1",
    ]
    (tmp_path / ".env").write_text("\n".join(lines), encoding="utf-8")
    assert unused(tmp_path, {"BACKUP_REDIS_HOSTNAME": "b", "REDIS_PASSWORD": "none of ours, out here"}) == [
        "line 4 of .env is not NAME=value and is ignored",
        "REDIS_PASSWORD is not a setting and is ignored; did you mean BACKUP_REDIS_PASSWORD?",
        "BACKUP_REDIS_HOSTNAME is not a setting and is ignored; did you mean BACKUP_REDIS_HOST?",
    ]


def test_nothing_is_reported_if_everything_is_used(tmp_path: Path) -> None:
    assert unused(tmp_path, {}) == []
    (tmp_path / ".env").write_text("PARTITIONS=16\n", encoding="utf-8")
    assert unused(tmp_path, {"PATH": "/bin"}) == []


def test_a_change_that_the_environment_hides_is_named() -> None:
    before, after = {"BATCH_SIZE": "1", "LOG_LEVEL": "INFO", "OTHER": "1"}, {"BATCH_SIZE": "2", "OTHER": "2"}
    environ = {"BATCH_SIZE": "5", "OTHER": "5", "WEB_PORT": "1"}
    assert hidden(before, after, environ) == ["BATCH_SIZE"]
    assert hidden(after, before, {}) == []
