"""ROUTES_FILE: where the routes file is found, and what it means for the other settings."""

from dataclasses import replace
from pathlib import Path

import pytest

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.settings.common import common_settings, differences, digest
from tsync_stream.settings.load import WrongRoutes, default_settings, lines_for_exit, load_settings, with_servers
from tsync_stream.settings.routes_file import MAX_BYTES, RoutesFile


def problems(directory: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(directory, environ)
    return caught.value.problems


def test_without_a_file_there_is_none(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {}).routes_file is None
    assert load_settings(tmp_path, {"ROUTES_FILE": " "}).routes_file is None


def test_tsync_yaml_in_the_working_directory_is_read(tmp_path: Path) -> None:
    (tmp_path / "tsync.yaml").write_bytes(b"a: ${SECRET} ${NONE}")
    found = load_settings(tmp_path, {"SECRET": "s3cret", "OTHER": "not named"})
    assert found.routes_file == RoutesFile(tmp_path / "tsync.yaml", b"a: ${SECRET} ${NONE}", (("SECRET", "s3cret"),))
    assert "s3cret" not in repr(found) + str(found.describe())
    assert found.describe()["ROUTES_FILE"] == str(tmp_path / "tsync.yaml")


def test_a_file_that_is_named_goes_before_tsync_yaml(tmp_path: Path) -> None:
    (tmp_path / "tsync.yaml").write_bytes(b"a")
    (tmp_path / "other.yaml").write_bytes(b"b")
    for name in ("other.yaml", str(tmp_path / "other.yaml")):
        found = load_settings(tmp_path, {"ROUTES_FILE": name}).routes_file
        assert found is not None
        assert (found.path, found.content) == (tmp_path / "other.yaml", b"b")


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tsync.yaml").write_bytes(b"before")
    settings = load_settings()
    (tmp_path / "tsync.yaml").write_bytes(b"after")
    assert with_servers(settings, {"WEB_PORT": "1234"}) == replace(settings, web_port=1234)


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, ROUTES_FILE="nosuch.yaml")
    assert found.startswith(f"ROUTES_FILE={str(tmp_path / 'nosuch.yaml')[:100]!r} is not valid (there is no such file)")
    (tmp_path / "tsync.yaml").mkdir()
    (found,) = problems(tmp_path)
    assert "it is a folder; Docker creates one where the file to mount does not exist" in found
    (tmp_path / "large.yaml").write_bytes(b" " * (MAX_BYTES + 1))
    (found,) = problems(tmp_path, ROUTES_FILE="large.yaml")
    assert "the file is larger than 256 KB" in found


def test_defaults_come_from_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tsync.yaml").write_bytes(b"a")
    assert default_settings().routes_file is None


def test_replicas_with_a_file_need_not_share_what_it_replaces(tmp_path: Path) -> None:
    (tmp_path / "tsync.yaml").write_bytes(b"a")
    (tmp_path / "other.yaml").write_bytes(b"b")
    others = {
        "MONGODB_DATABASE": "x",
        "MONGODB_COLLECTION": "x",
        "TYPESENSE_COLLECTION_NAME": "x",
        "ROUTE_NAME": "x",
        "ROUTES_FILE": "other.yaml",
        "FAN_OUT_INLINE": "5",
        "TRANSFORM_TIMEOUT": "5s",
    }
    one, other = common_settings(load_settings(tmp_path, {})), common_settings(load_settings(tmp_path, others))
    assert one == other
    assert digest(one) == digest(other)


def test_a_replica_without_the_file_differs(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "tsync.yaml").write_bytes(b"a")
    with_file, without = (
        common_settings(load_settings(tmp_path / "some", {})),
        common_settings(load_settings(tmp_path, {})),
    )
    assert differences(with_file, without) == ["ROUTES_FILE is empty here, and set there"]
    assert digest(with_file) != digest(without)


def test_rules_about_what_the_file_replaces_do_not_count(tmp_path: Path) -> None:
    same = {"STATE_DATABASE": "shop", "MONGODB_DATABASE": "shop"}
    assert "are the same database" in problems(tmp_path, **same)[0]
    (tmp_path / "tsync.yaml").write_bytes(b"a")
    assert load_settings(tmp_path, same).state_database == "shop"


def test_the_schema_file_of_the_settings_is_for_the_route_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"fields": []}', encoding="utf-8")
    chosen = {"TYPESENSE_SCHEMA_FILE": "schema.json"}
    assert load_settings(tmp_path, chosen).typesense.schema_file == tmp_path / "schema.json"
    (tmp_path / "tsync.yaml").write_bytes(b"a")
    assert load_settings(tmp_path, chosen).typesense.schema_file is None


def test_the_lines_for_exit_name_the_page_about_routes() -> None:
    assert lines_for_exit(WrongRoutes(["tsync.yaml:1:1: x"])).splitlines() == [
        "tsync-stream cannot start: 1 problem",
        "  - tsync.yaml:1:1: x",
        "docs/routes.md describes the routes file, and docs/settings.md the settings.",
    ]
