"""Settings: every name and form, all problems at once, and no secret in any output."""

import contextlib
import dataclasses
import operator
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.settings import forms, load, texts
from tsync_stream.settings.load import (
    Settings,
    lines_for_exit,
    load_settings,
    with_table,
)
from tsync_stream.settings.rules import RULES
from tsync_stream.settings.setting import Setting
from tsync_stream.settings.table import SETTINGS, settings_table

# The interface that users' environments rely on: these names and defaults do not change.
DEFAULTS = {
    "MONGODB_URI": "mongodb://localhost:27017",
    "MONGODB_URI_FILE": "",
    "MONGODB_DATABASE": "neatlisting",
    "MONGODB_COLLECTION": "listings",
    "TYPESENSE_API_KEY": "xyz",
    "TYPESENSE_API_KEY_FILE": "",
    "TYPESENSE_HOST": "localhost",
    "TYPESENSE_PORT": "8108",
    "TYPESENSE_PROTOCOL": "http",
    "TYPESENSE_TLS_CA_FILE": "",
    "TYPESENSE_TLS_CERT_FILE": "",
    "TYPESENSE_TLS_KEY_FILE": "",
    "TYPESENSE_TLS_VERIFY": "true",
    "TYPESENSE_COLLECTION_NAME": "listings",
    "TYPESENSE_CONNECTION_TIMEOUT": "5s",
    "TYPESENSE_KEEPALIVE_TIMEOUT": "30s",
    "TYPESENSE_MAX_RATE": "0",
    "TYPESENSE_MAX_RETRIES": "3",
    "TYPESENSE_RETRY_BACKOFF": "100ms",
    "TYPESENSE_TRUST_PROXY_ENV": "false",
    "MAX_BUFFER_SIZE": "1000",
    "BATCH_SIZE": "100",
    "FLUSH_INTERVAL": "5",
    "PRIMARY_REDIS_HOST": "localhost",
    "PRIMARY_REDIS_PORT": "6379",
    "PRIMARY_REDIS_USERNAME": "",
    "PRIMARY_REDIS_PASSWORD": "",
    "PRIMARY_REDIS_PASSWORD_FILE": "",
    "PRIMARY_REDIS_TLS": "false",
    "PRIMARY_REDIS_TLS_CA_FILE": "",
    "PRIMARY_REDIS_TLS_CERT_FILE": "",
    "PRIMARY_REDIS_TLS_KEY_FILE": "",
    "PRIMARY_REDIS_TLS_VERIFY": "true",
    "PRIMARY_REDIS_DB": "0",
    "PRIMARY_REDIS_QUEUE_KEY": "typesense_sync_queue",
    "PRIMARY_REDIS_POOL_SIZE": "10",
    "PRIMARY_REDIS_MIN_IDLE_CONNS": "5",
    "PRIMARY_REDIS_MAX_RETRIES": "3",
    "PRIMARY_REDIS_RETRY_BACKOFF": "100ms",
    "PRIMARY_REDIS_CONN_MAX_LIFETIME": "1h",
    "PRIMARY_REDIS_SAVE_INTERVAL": "300s",
    "PRIMARY_REDIS_APPEND_ONLY": "true",
    "PRIMARY_REDIS_APPEND_FILENAME": "appendonly.aof",
    "PRIMARY_REDIS_RDB_FILENAME": "dump.rdb",
    "BACKUP_REDIS_HOST": "localhost",
    "BACKUP_REDIS_PORT": "6380",
    "BACKUP_REDIS_USERNAME": "",
    "BACKUP_REDIS_PASSWORD": "",
    "BACKUP_REDIS_PASSWORD_FILE": "",
    "BACKUP_REDIS_TLS": "false",
    "BACKUP_REDIS_TLS_CA_FILE": "",
    "BACKUP_REDIS_TLS_CERT_FILE": "",
    "BACKUP_REDIS_TLS_KEY_FILE": "",
    "BACKUP_REDIS_TLS_VERIFY": "true",
    "BACKUP_REDIS_DB": "0",
    "BACKUP_REDIS_QUEUE_KEY": "typesense_sync_queue_backup",
    "BACKUP_REDIS_POOL_SIZE": "10",
    "BACKUP_REDIS_MIN_IDLE_CONNS": "5",
    "BACKUP_REDIS_MAX_RETRIES": "3",
    "BACKUP_REDIS_RETRY_BACKOFF": "100ms",
    "BACKUP_REDIS_CONN_MAX_LIFETIME": "1h",
    "BACKUP_REDIS_SAVE_INTERVAL": "300s",
    "BACKUP_REDIS_APPEND_ONLY": "true",
    "BACKUP_REDIS_APPEND_FILENAME": "appendonly_backup.aof",
    "BACKUP_REDIS_RDB_FILENAME": "dump_backup.rdb",
    "REDIS_MANAGE_PERSISTENCE": "true",
    "ROUTE_NAME": "",
    "STATE_DATABASE": "tsync",
    "PARTITIONS": "8",
    "LEASE_TTL": "15s",
    "FAIL_BACK_AFTER": "30s",
    "MAX_BACKLOG": "10000000",
    "SYNC_LANES": "2",
    "IMPORT_MAX_BYTES": "8MB",
    "TYPESENSE_SCHEMA_FILE": "",
    "TYPESENSE_MAX_FIELDS": "5000",
    "DATE_UNIT": "s",
    "MASS_DELETE_SHARE": "0.2",
    "ON_REJECT": "keep",
    "DEAD_LETTER_ALERT_SHARE": "0.01",
    "VERIFY_RATE": "50",
    "JOBS_YIELD_TO_SEARCHES": "true",
    "BACKUP_DIRECTORY": "",
    "BACKUP_TYPESENSE_PATH": "",
    "BACKUP_SCHEDULE": "",
    "BACKUP_KEEP": "7",
    "BACKUP_KEEP_FOR": "",
    "ROUTES_FILE": "",
    "TRANSFORM_TIMEOUT": "1s",
    "FAN_OUT_INLINE": "1000",
    "WEB_BIND": "127.0.0.1",
    "WEB_PORT": "6066",
    "API_TOKEN": "",
    "API_TOKEN_FILE": "",
    "DASHBOARD_SHOW_VALUES": "false",
    "OTLP_ENDPOINT": "",
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "auto",
    "TSYNC_EMBEDDED": "false",
    "TSYNC_EMBEDDED_DIR": ".tsync",
    "MONGOD_EXECUTABLE": "",
    "REDIS_SERVER_EXECUTABLE": "",
    "TYPESENSE_SERVER_EXECUTABLE": "",
}


def settings_from(directory: Path, **environ: str) -> Settings:
    return load_settings(directory, environ)


def problems_from(directory: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(directory, environ)
    return caught.value.problems


def value_of(settings: Settings, name: str) -> object:
    field = next(setting.field for setting in SETTINGS if setting.name == name)
    return typing.cast("object", operator.attrgetter(field)(settings))


# ---- the table ----


def test_every_name_and_default_is_the_promised_one() -> None:
    assert {setting.name: setting.default for setting in SETTINGS} == DEFAULTS


def fields_with_types(kind: type, place: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            found |= fields_with_types(typing.cast("type", hint), f"{place}{name}.")
        else:
            found[f"{place}{name}"] = hint
    return found


def test_every_field_of_settings_has_one_row_and_a_value_of_its_type(tmp_path: Path) -> None:
    fields = fields_with_types(Settings)
    names = [fields.pop(f"{tier}_redis.name") for tier in ("primary", "backup")]
    assert names == [typing.Literal["primary", "backup"]] * 2
    assert sorted(fields) == sorted(setting.field for setting in SETTINGS)

    settings = settings_from(tmp_path)
    for field, hint in fields.items():
        value = operator.attrgetter(field)(settings)
        if typing.get_origin(hint) is typing.Literal:
            assert value in typing.get_args(hint), field
            continue
        kind = tuple if typing.get_origin(hint) is tuple else typing.cast("type", hint)
        assert isinstance(value, kind), field


@pytest.mark.parametrize("setting", SETTINGS, ids=operator.attrgetter("name"))
def test_defaults_and_examples_are_valid(setting: Setting) -> None:
    form = setting.form
    assert form.parse(form.example or setting.default) is not ...
    if not form.secret:
        value = form.parse(setting.default)
        assert form.parse(form.show(value)) == value


def test_the_documentation_shows_the_current_table() -> None:
    page = (Path(load.__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == with_table(page), "run: python -m tsync_stream.settings.load docs/settings.md"


def test_the_table_has_a_row_for_every_setting() -> None:
    rows = [line.split(" | ") for line in settings_table().splitlines() if line.startswith("| `")]
    shown = {name.strip("|` "): default.strip("`") for name, default, *_ in rows}
    assert shown == {name: default or "(empty)" for name, default in DEFAULTS.items()}
    assert all(len(row) == 5 and all(cell.strip() for cell in row) for row in rows)


def test_a_page_without_markers_is_left_alone() -> None:
    with pytest.raises(ValueError, match="substring not found"):
        with_table("# A page of something else\n")


# ---- values that fit ----


def test_the_defaults_make_settings(tmp_path: Path) -> None:
    settings = settings_from(tmp_path)

    assert settings.mongo == load.MongoSettings("mongodb://localhost:27017", "neatlisting", "listings")
    assert settings.typesense == load.TypesenseSettings(
        api_key="xyz",
        hosts=("localhost",),
        port=8108,
        protocol="http",
        collection_name="listings",
        connection_timeout_s=5.0,
        keepalive_timeout_s=30.0,
        max_retries=3,
        retry_backoff_s=0.1,
        schema_file=None,
    )
    assert settings.buffer == load.BufferSettings(1000, 100, 5.0)
    assert settings.primary_redis == load.RedisSettings(
        name="primary",
        host="localhost",
        port=6379,
        password="",
        db=0,
        queue_key="typesense_sync_queue",
        pool_size=10,
        min_idle_conns=5,
        max_retries=3,
        retry_backoff_s=0.1,
        conn_max_lifetime_s=3600.0,
        save_interval_s=300.0,
        append_only=True,
        append_filename="appendonly.aof",
        rdb_filename="dump.rdb",
    )
    assert settings.backup_redis == dataclasses.replace(
        settings.primary_redis,
        name="backup",
        port=6380,
        queue_key="typesense_sync_queue_backup",
        append_filename="appendonly_backup.aof",
        rdb_filename="dump_backup.rdb",
    )
    assert settings.import_max_bytes == 8 * 1024 * 1024
    assert settings.lease_ttl_s == 15.0
    assert settings.embedded_dir == tmp_path / ".tsync"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("BATCH_SIZE", " 250 ", 250),
        ("FLUSH_INTERVAL", "0.5", 0.5),
        ("FLUSH_INTERVAL", "250ms", 0.25),
        ("LEASE_TTL", "1m", 60.0),
        ("PRIMARY_REDIS_CONN_MAX_LIFETIME", "1.5h", 5400.0),
        ("IMPORT_MAX_BYTES", "100000", 100_000),
        ("IMPORT_MAX_BYTES", "512kb", 512 * 1024),
        ("IMPORT_MAX_BYTES", "1GB", 1024**3),
        ("PRIMARY_REDIS_APPEND_ONLY", "off", False),
        ("BACKUP_REDIS_APPEND_ONLY", "Yes", True),
        ("TSYNC_EMBEDDED", "1", True),
        ("TYPESENSE_PROTOCOL", "HTTPS", "https"),
        ("DATE_UNIT", "ms", "ms"),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("MASS_DELETE_SHARE", "0", 0.0),
        ("MASS_DELETE_SHARE", "1", 1.0),
        ("MASS_DELETE_SHARE", "0.05", 0.05),
        ("ON_REJECT", "Delete", "delete"),
        ("TYPESENSE_HOST", "a.example, b.example,10.0.0.3", ("a.example", "b.example", "10.0.0.3")),
        ("WEB_BIND", "::1", "::1"),
        ("OTLP_ENDPOINT", "https://otel.example:4318/team", "https://otel.example:4318/team"),
        ("WEB_BIND", "[::]", "::"),
        ("PRIMARY_REDIS_HOST", "redis_primary", "redis_primary"),
        ("PRIMARY_REDIS_PASSWORD", " spaces and = and # stay ", " spaces and = and # stay "),
        ("MONGODB_COLLECTION", "listings.archive", "listings.archive"),
        (
            "MONGODB_URI",
            "mongodb://a:1,b:2,[::1]:3/?replicaSet=rs0",
            "mongodb://a:1,b:2,[::1]:3/?replicaSet=rs0",
        ),
        # The driver warns about an option that it does not know when it connects; here it is no problem.
        ("MONGODB_URI", "mongodb://a/?useNewUrlParser=true", "mongodb://a/?useNewUrlParser=true"),
    ],
)
def test_a_form_is_read(tmp_path: Path, name: str, text: str, value: object) -> None:
    assert value_of(settings_from(tmp_path, **{name: text}), name) == value


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb+srv://cluster0.abcde.example.net",
        "mongodb+srv://user:p%40ss@cluster0.abcde.example.net/db?retryWrites=true&srvMaxHosts=2",
        "mongodb+srv://cluster0.abcde.example.net/?srvServiceName=other",
    ],
)
def test_a_srv_uri_is_judged_without_dns(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket", None)
    assert settings_from(tmp_path, MONGODB_URI=uri).mongo.uri == uri


def test_node_urls_name_every_node_and_put_ipv6_in_brackets(tmp_path: Path) -> None:
    typesense = settings_from(tmp_path, TYPESENSE_HOST="search,::1", TYPESENSE_PROTOCOL="https").typesense
    assert typesense.node_urls == ("https://search:8108", "https://[::1]:8108")


def test_paths_start_at_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"fields": [{"name": ".*", "type": "auto"}]}', encoding="utf-8")
    program = tmp_path / "mongod"
    program.touch(mode=0o755)

    settings = settings_from(
        tmp_path,
        TYPESENSE_SCHEMA_FILE="schema.json",
        MONGOD_EXECUTABLE=str(program),
        TSYNC_EMBEDDED_DIR="data/stack",
    )

    assert settings.typesense.schema_file == tmp_path / "schema.json"
    assert settings.mongod_executable == program
    assert settings.redis_server_executable is None
    assert settings.embedded_dir == tmp_path / "data" / "stack"


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = settings_from(tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.partitions = 9  # type: ignore[misc]


# ---- durations and sizes ----


@given(
    st.decimals(0, 10**9, places=6),
    st.sampled_from([("ms", 0.001), ("s", 1), ("", 1), ("m", 60), ("h", 3600)]),
)
def test_a_duration_is_its_number_times_its_unit(number: object, unit: tuple[str, float]) -> None:
    seconds = forms.parse_duration(f"{number}{unit[0]}")
    assert seconds == pytest.approx(float(str(number)) * unit[1])


@given(st.integers(0, 10**9), st.sampled_from([1, 1000, 60_000, 3_600_000]))
def test_a_duration_survives_being_shown_and_read(count: int, milliseconds: int) -> None:
    seconds = count * milliseconds / 1000
    assert forms.parse_duration(forms.show_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0015, "0.0015s"), (0.1, "100ms"), (90.0, "90s"), (300.0, "5m"), (7200.0, "2h")],
)
def test_a_duration_is_shown_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert forms.show_duration(seconds) == text


@given(st.integers(0, 10**12))
def test_a_size_survives_being_shown_and_read(size: int) -> None:
    assert forms.parse_size(forms.show_size(size)) == size


@given(st.integers(0, 10**9), st.sampled_from([("", 0), ("B", 0), ("KB", 1), ("mb", 2), ("GB", 3)]))
def test_a_size_is_its_number_times_its_unit(count: int, unit: tuple[str, int]) -> None:
    suffix, power = unit
    assert forms.parse_size(f"{count}{suffix}") == count * 1024**power


@given(st.tuples(st.sampled_from(["", "mongodb://", "mongodb+srv://", "mongodb://h/?"]), st.text()).map("".join))
def test_any_text_is_a_value_or_a_problem(text: str) -> None:
    """Whatever somebody writes, no form fails in another way."""
    for setting in SETTINGS:
        with contextlib.suppress(ValueError):
            setting.form.parse(text)


# ---- values that do not fit ----


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("PARTITIONS", "0", "a whole number from 1 to 1024, for example PARTITIONS=8"),
        ("PARTITIONS", "1025", "from 1 to 1024"),
        ("PARTITIONS", "eight", "'eight'"),
        ("PARTITIONS", "", "set, but empty"),
        ("BATCH_SIZE", "1e3", "a whole number of changes"),
        ("BATCH_SIZE", "-1", "a whole number of changes"),
        ("BATCH_SIZE", "\N{ARABIC-INDIC DIGIT ONE}", "a whole number of changes"),
        ("TYPESENSE_PORT", "70000", "a port from 1 to 65535"),
        ("TYPESENSE_PORT", "tcp://10.0.0.1:8108", "Kubernetes"),
        ("FLUSH_INTERVAL", "5 minutes", "a duration from 1ms to 1h, for example FLUSH_INTERVAL=5"),
        ("FLUSH_INTERVAL", "-5s", "a duration"),
        ("FLUSH_INTERVAL", "0", "a duration"),
        ("FLUSH_INTERVAL", "1h30m", "a duration"),
        ("FLUSH_INTERVAL", "nan", "a duration"),
        ("IMPORT_MAX_BYTES", "8MiB", "a size from 64KB to 1GB, for example IMPORT_MAX_BYTES=8MB"),
        ("IMPORT_MAX_BYTES", "1KB", "a size"),
        ("IMPORT_MAX_BYTES", "8 MB", "a size"),
        ("PRIMARY_REDIS_APPEND_ONLY", "maybe", "true or false"),
        ("PRIMARY_REDIS_APPEND_ONLY", "", "set, but empty"),
        ("TYPESENSE_PROTOCOL", "ftp", "one of http, https"),
        ("DATE_UNIT", "us", "one of s, ms"),
        ("MASS_DELETE_SHARE", "20%", "a share from 0 to 1"),
        ("MASS_DELETE_SHARE", "1.1", "a share from 0 to 1"),
        ("ON_REJECT", "drop", "one of keep, delete"),
        ("TYPESENSE_HOST", "http://search", "without protocol or port, for example TYPESENSE_HOST=search-1,"),
        ("TYPESENSE_HOST", "search:8108", "without protocol or port"),
        ("TYPESENSE_HOST", "a,,b", "separated by commas"),
        ("PRIMARY_REDIS_HOST", "a,b", "one host name"),
        ("PRIMARY_REDIS_QUEUE_KEY", "queue{1}", "without spaces or braces"),
        ("PRIMARY_REDIS_APPEND_FILENAME", "aof/primary.aof", "a plain file name"),
        ("BACKUP_REDIS_RDB_FILENAME", "..", "a plain file name"),
        ("MONGODB_DATABASE", "neat.listing", "a database name"),
        ("MONGODB_DATABASE", "a" * 64, "up to 63 bytes"),
        ("MONGODB_DATABASE", "local", "MongoDB reserves it"),
        ("STATE_DATABASE", "admin", "MongoDB reserves it"),
        ("MONGODB_COLLECTION", "$listings", "a collection name"),
        ("MONGODB_COLLECTION", ".listings", "without dots at its ends"),
        ("MONGODB_COLLECTION", "system.views", "system collections"),
        ("TYPESENSE_COLLECTION_NAME", "a/b", "a collection or alias name"),
        ("TYPESENSE_SCHEMA_FILE", "missing.json", "there is no such file"),
        ("TYPESENSE_SCHEMA_FILE", "bad.json", "not JSON"),
        ("TYPESENSE_SCHEMA_FILE", "list.json", "not a collection schema"),
        ("TYPESENSE_SCHEMA_FILE", "folder", "cannot be read"),
        ("TYPESENSE_SCHEMA_FILE", "types.json", "field 1 (`n`) has the type `int65`"),
        ("TYPESENSE_SCHEMA_FILE", "x" * 5000, "cannot be read"),
        ("MONGOD_EXECUTABLE", "bad.json", "not executable"),
        ("REDIS_SERVER_EXECUTABLE", "folder", "not executable"),
        ("TYPESENSE_SERVER_EXECUTABLE", "x" * 5000, "no such file"),
        ("TSYNC_EMBEDDED_DIR", "", "the path of a folder"),
        ("LOG_LEVEL", "LOUD", "one of DEBUG, INFO"),
    ],
)
def test_a_problem_says_what_is_wrong_and_what_is_valid(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    (tmp_path / "types.json").write_text('{"fields": [{"name": "n", "type": "int65"}]}', encoding="utf-8")
    (tmp_path / "folder").mkdir()

    [problem] = problems_from(tmp_path, **{name: text})

    assert problem.startswith(f"{name}={text[:100]!r} is not valid")
    assert told in problem


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("MONGODB_URI", "postgres://s3cret@db", "it does not begin with mongodb://"),
        ("MONGODB_URI", "mongodb://", "the driver cannot parse it"),
        ("MONGODB_URI", "mongodb://user:s3cret/x@host", "percent-encoded"),
        ("MONGODB_URI", "mongodb://user:s3cret@x@host", "percent-encoded"),
        ("MONGODB_URI", "mongodb://user:s3cret@a b", "a space or a line break"),
        ("MONGODB_URI", "mongodb://user:s3cret@h:port", "the driver cannot parse it"),
        (
            "MONGODB_URI",
            "mongodb://u:s3cret@h/?tlsCAFile=/no/such/file.pem",
            "a file named in its TLS options",
        ),
        ("MONGODB_URI", "mongodb://u:s3cret@h/?srvMaxHosts=1", "the driver cannot parse it"),
        ("MONGODB_URI", "mongodb+srv://u:s3cret@a.example.net,b.example.net", "one host name and no port"),
        ("MONGODB_URI", "mongodb+srv://u:s3cret@a.example.net:27017", "one host name and no port"),
        ("TYPESENSE_API_KEY", "s3cret\n", "printable ASCII"),
        ("TYPESENSE_API_KEY", "", "set, but empty"),
        ("PRIMARY_REDIS_PASSWORD", "s3cret\n", "text on one line"),
    ],
)
def test_a_problem_with_a_secret_does_not_show_it(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path, {name: text})

    [problem] = caught.value.problems
    assert problem.startswith(f"{name} (its value is not shown) is not valid")
    assert told in problem
    assert "s3cret" not in lines_for_exit(caught.value) + repr(caught.value)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    problems = problems_from(
        tmp_path,
        LOG_LEVEL="loud",
        MONGODB_URI="nonsense",
        PRIMARY_REDIS_PORT="none",
        BATCH_SIZE="2000",
        PARTITIONS="1",
    )

    assert [problem.split("=")[0].split(" ")[0] for problem in problems] == [
        "MONGODB_URI",
        "PRIMARY_REDIS_PORT",
        "LOG_LEVEL",
        "BATCH_SIZE",
        "SYNC_LANES",
    ]


# ---- settings that do not fit each other ----


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"LEASE_TTL": "14s"}, "LEASE_TTL=14s is less than three times TYPESENSE_CONNECTION_TIMEOUT=5s"),
        ({"TYPESENSE_CONNECTION_TIMEOUT": "1m"}, "LEASE_TTL=15s is less than three times"),
        ({"BATCH_SIZE": "1001"}, "BATCH_SIZE=1001 is larger than MAX_BUFFER_SIZE=1000"),
        ({"MAX_BACKLOG": "99"}, "BATCH_SIZE=100 is larger than MAX_BACKLOG=99"),
        ({"SYNC_LANES": "9"}, "SYNC_LANES=9 is larger than PARTITIONS=8"),
        ({"STATE_DATABASE": "NeatListing"}, "are the same database"),
        ({"MONGODB_COLLECTION": "c" * 244}, "longer than the 255 bytes"),
        ({"PRIMARY_REDIS_POOL_SIZE": "4"}, "PRIMARY_REDIS_MIN_IDLE_CONNS=5 is larger than"),
        ({"BACKUP_REDIS_MIN_IDLE_CONNS": "11"}, "BACKUP_REDIS_MIN_IDLE_CONNS=11 is larger than"),
        ({"BACKUP_REDIS_RDB_FILENAME": "appendonly_backup.aof"}, "are the same file"),
        (
            {
                "PRIMARY_REDIS_HOST": "LOCALHOST",
                "BACKUP_REDIS_HOST": "127.0.0.1",
                "BACKUP_REDIS_PORT": "6379",
                "BACKUP_REDIS_QUEUE_KEY": "typesense_sync_queue",
            },
            "name the same queue (LOCALHOST:6379, database 0, key typesense_sync_queue)",
        ),
    ],
)
def test_settings_must_be_consistent(tmp_path: Path, environ: dict[str, str], told: str) -> None:
    [problem] = problems_from(tmp_path, **environ)
    assert told in problem


@pytest.mark.parametrize(
    "environ",
    [
        {"LEASE_TTL": "1.2s", "TYPESENSE_CONNECTION_TIMEOUT": "400ms"},
        {"BATCH_SIZE": "1000"},
        {"SYNC_LANES": "8"},
        {"MONGODB_COLLECTION": "c" * 243},
        {"PRIMARY_REDIS_POOL_SIZE": "5"},
        {"BACKUP_REDIS_PORT": "6379"},
        {"BACKUP_REDIS_QUEUE_KEY": "typesense_sync_queue"},
        {
            "BACKUP_REDIS_PORT": "6379",
            "BACKUP_REDIS_QUEUE_KEY": "typesense_sync_queue",
            "BACKUP_REDIS_DB": "1",
        },
    ],
)
def test_settings_at_the_limit_are_consistent(tmp_path: Path, environ: dict[str, str]) -> None:
    assert settings_from(tmp_path, **environ)


def test_no_rule_shows_a_secret() -> None:
    secrets = {setting.name for setting in SETTINGS if setting.form.secret}
    assert secrets == {
        "MONGODB_URI",
        "TYPESENSE_API_KEY",
        "PRIMARY_REDIS_PASSWORD",
        "BACKUP_REDIS_PASSWORD",
        "API_TOKEN",
    }
    assert secrets.isdisjoint(name for rule in RULES for name in rule.names)


# ---- secrets ----


def test_no_description_contains_a_secret(tmp_path: Path) -> None:
    settings = settings_from(
        tmp_path,
        MONGODB_URI="mongodb://s3user:s3cret@h1:1,h2/db?tls=true&tlsCertificateKeyFilePassword=s3cret",
        TYPESENSE_API_KEY="s3cret",
        PRIMARY_REDIS_PASSWORD="s3cret",
    )

    described = settings.describe()

    assert "s3" not in repr(settings) + str(described)
    assert list(described) == [setting.name for setting in SETTINGS]
    assert described["MONGODB_URI"] == "mongodb://***@h1:1,h2/db?***"
    assert described["TYPESENSE_API_KEY"] == "***"
    assert described["PRIMARY_REDIS_PASSWORD"] == "***"
    assert described["BACKUP_REDIS_PASSWORD"] == ""
    assert settings.mongo.uri.startswith("mongodb://s3user:s3cret@")


def test_a_description_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    settings = settings_from(tmp_path, TYPESENSE_API_KEY="***", FLUSH_INTERVAL="1.5m", IMPORT_MAX_BYTES="3MB")
    assert load_settings(tmp_path / "elsewhere", settings.describe()) == settings


# ---- where settings come from ----


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# ours\n\nPARTITIONS=16\n  LEASE_TTL = '20s'\nBATCH_SIZE=7\nPRIMARY_REDIS_PASSWORD=\"a=b # c\"\n",
        encoding="utf-8",
    )

    settings = settings_from(tmp_path, PARTITIONS="4")

    assert settings.partitions == 4
    assert settings.lease_ttl_s == 20.0
    assert settings.buffer.batch_size == 7
    assert settings.primary_redis.password == "a=b # c"
    assert settings.buffer.max_buffer_size == 1000


def test_the_process_and_its_working_directory_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / ".env").write_text("PARTITIONS=3\n", encoding="utf-8")
    monkeypatch.setenv("BATCH_SIZE", "55")
    monkeypatch.delenv("PARTITIONS", raising=False)

    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert (settings.partitions, settings.buffer.batch_size) == (3, 55)

    monkeypatch.chdir(inner)
    assert load_settings().partitions == 8, "folders above the working directory are not searched"


def test_a_given_environment_replaces_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTITIONS", "5")
    assert load_settings(tmp_path, {}).partitions == 8


def test_a_byte_order_mark_hides_no_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PARTITIONS=16\n", encoding="utf-8-sig")
    assert settings_from(tmp_path).partitions == 16


def test_a_file_that_is_not_text_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PRIMARY_REDIS_PASSWORD=s3cret\xff\n")
    [problem] = problems_from(tmp_path)
    assert problem == f"{tmp_path / '.env'} cannot be read: it is not a UTF-8 text file"


def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / ".env").touch()
    monkeypatch.setattr(texts, "RepositoryEnv", refuse)
    [problem] = problems_from(tmp_path)
    assert problem == f"{tmp_path / '.env'} cannot be read: Permission denied"


def test_a_folder_called_dotenv_is_no_settings_file(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert settings_from(tmp_path).partitions == 8


# ---- what a person reads ----


def test_the_lines_for_exit_list_every_problem() -> None:
    lines = lines_for_exit(ConfigurationError(["one thing", "another"])).splitlines()
    assert lines[:3] == ["tsync-stream cannot start: 2 problems", "  - one thing", "  - another"]
    assert "docs/settings.md" in lines[3]
    assert lines_for_exit(ConfigurationError("one")).startswith("tsync-stream cannot start: 1 problem\n")
