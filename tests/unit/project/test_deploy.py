"""What Docker would object to in docker-compose.yml and deploy/, as far as that can be checked without it.

`tests/support/compose-spec.json` is the Compose Specification's JSON schema, unchanged
(https://github.com/compose-spec/compose-spec, Apache-2.0; the copy that check-jsonschema 0.39.0 carries).
"""

import fnmatch
import http.server
import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from decouple import RepositoryEnv
from pymongo.uri_parser import parse_uri

from tsync_stream.settings.load import RedisSettings, Settings, load_settings
from tsync_stream.settings.table import SETTINGS
from tsync_stream.settings.texts import unknown_names

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
COMPOSE_FILE = ROOT / "docker-compose.yml"
ENV_FILES = ("env.dev", "env.prod")
SERVERS = ("mongodb", "redis-primary", "redis-backup", "typesense")
TIERS = ("primary", "backup")


# ---- the settings files ----


def parsed(env_file: str) -> dict[str, str]:
    """NAME=value lines, read as literally as `docker run --env-file` reads them."""
    lines = (DEPLOY / env_file).read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    assert len(pairs) == len({name for name, _, _ in pairs}), "a name twice"
    return {name: value for name, _, value in pairs}


def settings_of(env_file: str, directory: Path, **overrides: str) -> Settings:
    return load_settings(directory=directory, environ={**parsed(env_file), **overrides})


@pytest.mark.parametrize("env_file", ENV_FILES)
def test_a_settings_file_has_every_setting_and_loads(env_file: str, tmp_path: Path) -> None:
    given = parsed(env_file)

    assert set(given) == {setting.name for setting in SETTINGS}
    assert unknown_names(given) == []
    assert settings_of(env_file, tmp_path).embedded is False


@pytest.mark.parametrize("env_file", ENV_FILES)
def test_every_reader_reads_a_settings_file_alike(env_file: str) -> None:
    """`docker run` keeps quotes, Compose expands `$`, python-decouple strips; plain values mean the same to all."""
    for name, value in parsed(env_file).items():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", name)
        assert not re.search(r"""[\s"'`$#\\]""", value), name
    assert RepositoryEnv(str(DEPLOY / env_file)).data == parsed(env_file)


def test_development_settings_lead_to_this_machine(tmp_path: Path) -> None:
    settings = settings_of("env.dev", tmp_path)

    hosts = {settings.primary_redis.host, settings.backup_redis.host, *settings.typesense.hosts}
    assert hosts == {"localhost"}
    assert settings.web_bind == "127.0.0.1"


def test_production_settings_hold_no_secret_and_mark_what_to_replace(tmp_path: Path) -> None:
    given = parsed("env.prod")

    assert {name for name, value in given.items() if "REPLACE_ME" in value} == {
        "MONGODB_URI",
        "TYPESENSE_API_KEY",
        "PRIMARY_REDIS_PASSWORD",
        "BACKUP_REDIS_PASSWORD",
    }
    text = (DEPLOY / "env.prod").read_text(encoding="utf-8")
    assert "DO NOT RUN WITH THIS FILE AS IT IS" in text
    # The command that its heading gives finds every line that has to change, and nothing else.
    grep = re.search(r"`grep -nE '([^']+)'", text)
    assert grep is not None
    found = {line.partition("=")[0] for line in text.splitlines() if re.search(grep[1], line)}
    assert found == {name for name, value in given.items() if "REPLACE_ME" in value or "example.internal" in value}
    assert settings_of("env.prod", tmp_path).typesense.protocol == "https"


# ---- the Redis servers' configuration ----


def redis_conf(tier: str) -> dict[str, str]:
    lines = (DEPLOY / "redis" / f"{tier}.conf").read_text(encoding="utf-8").splitlines()
    words = [shlex.split(line) for line in lines if line and not line.startswith("#")]
    assert len(words) == len({name for name, *_ in words}), "a directive twice"
    return {name: " ".join(values) for name, *values in words}


def redis_settings(settings: Settings, tier: str) -> RedisSettings:
    return settings.primary_redis if tier == "primary" else settings.backup_redis


@pytest.mark.parametrize("env_file", ENV_FILES)
@pytest.mark.parametrize("tier", TIERS)
def test_a_redis_server_is_configured_as_the_settings_describe_it(tier: str, env_file: str, tmp_path: Path) -> None:
    conf, settings = redis_conf(tier), redis_settings(settings_of(env_file, tmp_path), tier)

    assert conf["port"] == str(settings.port)
    assert conf["appendonly"] == ("yes" if settings.append_only else "no")
    assert conf["appendfilename"] == settings.append_filename
    assert conf["dbfilename"] == settings.rdb_filename
    assert conf["save"] == f"{settings.save_interval_s:.0f} 1"


@pytest.mark.parametrize("tier", TIERS)
def test_a_redis_server_refuses_writes_rather_than_evict_entries(tier: str) -> None:
    conf = redis_conf(tier)

    assert conf["maxmemory-policy"] == "noeviction"
    assert conf["appendfsync"] == "everysec"
    assert "requirepass" not in conf, "a password belongs in the settings file, not in the repository"


def test_the_redis_servers_differ_only_in_port_and_files() -> None:
    primary, backup = redis_conf("primary"), redis_conf("backup")

    assert primary.keys() == backup.keys()
    assert {name for name in primary if primary[name] != backup[name]} == {"port", "appendfilename", "dbfilename"}


# ---- docker-compose.yml ----


def interpolated(value: Any) -> Any:
    """What Compose reads from the file if no variable is set: defaults for variables, `$` for `$$`."""
    if isinstance(value, dict):
        return {key: interpolated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\$|\$\{\w+:-([^}]*)\}", lambda match: "$" if match[0] == "$$" else match[1], value)
    return value


@pytest.fixture(name="compose", scope="module")
def compose_fixture() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
    return document


@pytest.fixture(name="services", scope="module")
def services_fixture(compose: dict[str, Any]) -> dict[str, Any]:
    services: dict[str, Any] = interpolated(compose["services"])
    return services


def test_compose_follows_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = json.loads((ROOT / "tests/support/compose-spec.json").read_text(encoding="utf-8"))

    validator = jsonschema.validators.validator_for(schema)(schema)
    for document in (compose, interpolated(compose)):
        assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)] == []
    assert "version" not in compose, "obsolete: Compose warns about it"


def test_only_variables_with_a_default_are_interpolated() -> None:
    """Compose takes them from the shell and a `.env`, not from the settings file: a secret there would not match."""
    text = re.sub(r"(^|\s)#.*", "", COMPOSE_FILE.read_text(encoding="utf-8")).replace("$$", "")

    assert set(re.findall(r"\$\{?(\w+)", text)) == {"SETTINGS_FILE", "WORKER_REPLICAS"}
    assert text.count("$") == len(re.findall(r"\$\{\w+:-[^}]+\}", text))


def test_every_service_is_there_and_every_server_keeps_its_data(
    compose: dict[str, Any], services: dict[str, Any]
) -> None:
    assert set(services) == {*SERVERS, "worker"}

    named = [source for _, source, _ in mounts(services) if not source.startswith(".")]
    assert sorted(named) == sorted(compose["volumes"]), "each declared volume is mounted once"
    targets = {(service, target) for service, source, target in mounts(services) if source in compose["volumes"]}
    assert targets == {
        ("mongodb", "/data/db"),
        ("mongodb", "/data/configdb"),
        ("redis-primary", "/data"),
        ("redis-backup", "/data"),
        ("typesense", "/data"),
    }


def mounts(services: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Service, source and target of every volume and bind mount."""
    return [
        (name, *volume.split(":")[:2]) for name, service in services.items() for volume in service.get("volumes", ())
    ]


def test_files_that_are_mounted_or_read_exist(services: dict[str, Any]) -> None:
    for service, source, _ in mounts(services):
        # Docker would make a folder of a file that is not there, and the server would not start.
        assert not source.startswith(".") or (ROOT / source).is_file(), service
    for name, service in services.items():
        assert service["env_file"] == "deploy/env.dev", name
    build = services["worker"]["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).is_file()


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_is_pinned_to_a_minor_release(server: str, services: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z]+(/[a-z]+)?:\d+\.\d+", services[server]["image"])


def test_ports_are_published_only_on_this_machine(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service["ports"]]

    assert len(ports) == len(set(ports))
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\d*:\d+", port)


def test_the_worker_waits_until_every_server_is_healthy(services: dict[str, Any]) -> None:
    assert services["worker"]["depends_on"] == {server: {"condition": "service_healthy"} for server in SERVERS}
    for server in SERVERS:
        assert services[server]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), server


def test_every_service_restarts_and_has_time_to_stop(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["stop_grace_period"] == "60s", name


def test_the_worker_can_have_replicas(compose: dict[str, Any], services: dict[str, Any]) -> None:
    worker = services["worker"]

    assert compose["services"]["worker"]["deploy"]["replicas"] == "${WORKER_REPLICAS:-2}"
    assert worker["deploy"]["replicas"] == "2"
    assert not {"container_name", "hostname"} & worker.keys(), "each replica needs its own"
    # A fixed port of the host can be had by one replica only.
    assert worker["ports"] == [f"127.0.0.1::{worker['environment']['WEB_PORT']}"]


def test_the_worker_s_settings_lead_to_the_services(services: dict[str, Any], tmp_path: Path) -> None:
    overrides = services["worker"]["environment"]
    assert overrides.keys() <= {setting.name for setting in SETTINGS}
    assert all(isinstance(value, str) for value in overrides.values()), "YAML would rewrite 0.0 or on"
    # They hold for each settings file, with its ports and protocols.
    for env_file in ENV_FILES:
        settings = settings_of(env_file, tmp_path, **overrides)

        assert parse_uri(settings.mongo.uri)["nodelist"] == [("mongodb", 27017)]
        for tier in TIERS:
            redis = redis_settings(settings, tier)
            assert redis.host == f"redis-{tier}"
            assert str(redis.port) == redis_conf(tier)["port"]
        assert settings.typesense.node_urls == ("http://typesense:8108",)
        assert settings.web_bind == "0.0.0.0"
        assert settings.embedded is False


def test_the_ports_on_this_machine_are_those_of_the_development_settings(
    services: dict[str, Any], tmp_path: Path
) -> None:
    settings = settings_of("env.dev", tmp_path)
    expected = {
        "mongodb": parse_uri(settings.mongo.uri)["nodelist"][0][1],
        "redis-primary": settings.primary_redis.port,
        "redis-backup": settings.backup_redis.port,
        "typesense": settings.typesense.port,
    }

    for server, port in expected.items():
        assert services[server]["ports"] == [f"127.0.0.1:{port}:{port}"]


@pytest.mark.parametrize("tier", TIERS)
def test_each_redis_server_has_its_own_configuration_and_password(tier: str, services: dict[str, Any]) -> None:
    service = services[f"redis-{tier}"]
    shell, option, command = service["command"]
    _, health = service["healthcheck"]["test"]

    assert (shell, option) == ("sh", "-c")
    assert f"./deploy/redis/{tier}.conf:/etc/tsync/redis.conf:ro" in service["volumes"]
    assert shlex.split(command)[-3:] == ["/etc/tsync/redis.conf", "--requirepass", f"${tier.upper()}_REDIS_PASSWORD"]
    assert set(re.findall(r"\w+_PASSWORD", health)) == {f"{tier.upper()}_REDIS_PASSWORD"}
    assert f"-p {redis_conf(tier)['port']} " in health
    assert redis_conf(tier)["dir"] == "/data"


def test_mongodb_initiates_the_replica_set_that_the_worker_expects(services: dict[str, Any]) -> None:
    mongodb = services["mongodb"]
    script = (DEPLOY / "mongo/ready.js").read_text(encoding="utf-8")
    constants = dict(re.findall(r'^const (\w+) = "([^"]+)";', script, re.MULTILINE))
    command = mongodb["command"]

    assert mongodb["healthcheck"]["test"][-1] == "/etc/tsync/ready.js"
    assert "./deploy/mongo/ready.js:/etc/tsync/ready.js:ro" in mongodb["volumes"]
    assert constants["HOST"] == f"{mongodb['hostname']}:27017" == "mongodb:27017"
    assert command[command.index("--replSet") + 1] == constants["SET"]
    assert services["worker"]["environment"]["MONGODB_URI"].endswith(f"?replicaSet={constants['SET']}")
    # What it reads from its environment comes from the settings file.
    assert set(re.findall(r"\b[A-Z]+_[A-Z]+\b", script)) <= {setting.name for setting in SETTINGS}


# ---- the worker's image ----


class Instruction(NamedTuple):
    """One instruction of the Dockerfile; `arguments` is the rest of its line, with continuation lines."""

    name: str
    arguments: str


@pytest.fixture(name="stages", scope="module")
def stages_fixture() -> list[list[Instruction]]:
    """The instructions of each stage."""
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if line and not line.startswith("#"))
    instructions = [Instruction(*line.split(maxsplit=1)) for line in text.replace("\\\n", " ").splitlines()]
    starts = [index for index, instruction in enumerate(instructions) if instruction.name == "FROM"]
    return [instructions[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def only(stage: list[Instruction], name: str) -> str:
    (arguments,) = [instruction.arguments for instruction in stage if instruction.name == name]
    return arguments


def test_the_image_runs_the_worker_without_root_and_without_a_shell(stages: list[list[Instruction]]) -> None:
    image = stages[-1]

    # In a shell's place, so that SIGTERM reaches the worker.
    assert json.loads(only(image, "CMD")) == ["faust", "-A", "tsync_stream", "worker", "-l", "info"]
    assert re.fullmatch(r"([1-9]\d*):([1-9]\d*)", only(image, "USER"))
    assert only(image, "WORKDIR") == "/app"
    assert "PYTHONUNBUFFERED=1" in only(image, "ENV").split()
    assert only(image, "EXPOSE") == "6066"


def test_the_image_is_built_from_the_lock_file_on_one_release_of_python(stages: list[list[Instruction]]) -> None:
    assert {only(stage, "FROM").split()[0] for stage in stages} == {"python:3.13-slim"}
    runs = [instruction.arguments for instruction in stages[0] if instruction.name == "RUN"]
    assert runs[-2:] == ["pip install --require-hashes -r requirements.lock", "pip install --no-deps ."]


def test_the_build_context_holds_only_what_the_image_needs(stages: list[list[Instruction]]) -> None:
    copies = [instruction.arguments for instruction in stages[0] if instruction.name == "COPY"]
    sources = {source for arguments in copies for source in arguments.split()[:-1]}

    for source in sources:
        assert (ROOT / source).exists(), source
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert allowed == {source.removeprefix("./") for source in sources}
    assert not any(fnmatch.fnmatch(".env", pattern) for pattern in allowed)
    # The image itself takes only what the first stage has installed.
    assert only(stages[-1], "COPY") == "--from=build /opt/tsync /opt/tsync"


@contextmanager
def health_page(status: int) -> Iterator[int]:
    """A server on a free port that answers `/health/live` with this status, and anything else with 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/live" else 404)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Tests print nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_the_image_s_healthcheck_asks_whether_the_process_is_alive(stages: list[list[Instruction]]) -> None:
    options, _, words = only(stages[-1], "HEALTHCHECK").partition("CMD ")
    python, option, program = json.loads(words)
    assert python == "python"
    assert all(re.fullmatch(r"--(interval|timeout|start-period|retries)=\d+s?", item) for item in options.split())

    def succeeds(port: int) -> bool:
        # A proxy that is not there: the page must be asked directly.
        environment = {"WEB_PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
        command = [sys.executable, option, program]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0

    with health_page(200) as port:
        assert succeeds(port)
    assert not succeeds(port), "nobody listens any more"
    with health_page(503) as port:
        assert not succeeds(port)
