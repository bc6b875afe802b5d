"""Reloads, without servers: what is taken up, refused, or waits for a restart when files change."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.waiting import HANG_S
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.health import Health
from tsync_stream.observe.metrics import Metrics
from tsync_stream.reload import CHECK, Actions, Reload
from tsync_stream.routes.declared import declared_routes, load_all
from tsync_stream.settings.in_force import InForce
from tsync_stream.settings.load import Settings

ROUTES = "routes:\n  a:\n    source: shop.a\n    target: a\n"


class Process:
    """What a reload acts on, and what it did to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.health, self.metrics = Health(), Metrics()
        self.at_once: list[tuple[str, ...]] = []
        self.stages: list[InForce] = []
        self.refuses_stages = ""
        self.reload: Reload

    def read(self) -> Settings:
        return load_all(self.directory, {}, imports=True)

    async def take_up(self, settings: Settings, names: Collection[str]) -> None:
        self.at_once.append(tuple(names))

    async def make_stages(self, in_force: InForce) -> None:
        if self.refuses_stages:
            raise ConfigurationError(self.refuses_stages)
        self.stages.append(in_force)

    def env(self, *lines: str) -> None:
        (self.directory / ".env").write_text("".join(f"{line}\n" for line in lines))

    def count(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("tsync_reloads_total", {"result": result}) or 0.0

    @property
    def problem(self) -> str:
        found = self.health.problems.get(CHECK)
        return found.text if found else ""

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(HANG_S):
            while not condition():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Process]:
    process = Process(directory)
    actions = Actions(process.read, process.take_up, process.make_stages)
    process.reload = Reload(InForce.at_start(process.read()), directory, actions, process.health, process.metrics)
    task = asyncio.create_task(process.reload.run())
    try:
        yield process
    finally:
        await process.reload.stop(task)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsync_stream.reload.SETTLED_S", 0.05)


async def test_changes_are_taken_up_together_and_nothing_else_is(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        before = process.reload.in_force.since
        process.env("BATCH_SIZE=7", "LOG_LEVEL=DEBUG", "PARTITIONS=4")
        await process.until(lambda: process.count("applied") == 1)
        in_force = process.reload.in_force
        assert process.at_once == [("LOG_LEVEL",)]
        assert process.stages == [in_force]
        assert (in_force.settings.buffer.batch_size, in_force.settings.log_level) == (7, "DEBUG")
        assert in_force.settings.partitions == 8
        assert in_force.restart_for == ("PARTITIONS",)
        assert in_force.since > before
        assert process.metrics.registry.get_sample_value("tsync_settings_pending") == 1


@pytest.mark.parametrize("line", ["BATCH_SIZE=many", "BATCH_SIZE=500\nMAX_BUFFER_SIZE=100", "PRIMARY_REDIS_TLS=maybe"])
async def test_a_bad_file_changes_nothing_until_it_is_corrected(tmp_path: Path, line: str) -> None:
    async with running(tmp_path) as process:
        before = process.reload.in_force
        process.env("LOG_LEVEL=DEBUG", line)
        await process.until(lambda: process.problem != "")
        assert process.problem.startswith(".env cannot be used as changed")
        assert line.partition("=")[0] in process.problem
        assert process.health.status == "degraded"
        assert (process.stages, process.at_once, process.reload.in_force) == ([], [], before)
        assert process.count("refused") == 1
        process.env("LOG_LEVEL=DEBUG")
        await process.until(lambda: process.problem == "")
        assert process.at_once == [("LOG_LEVEL",)]


async def test_stages_that_cannot_be_made_change_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        process.refuses_stages = "no such thing"
        process.env("BATCH_SIZE=7", "LOG_LEVEL=DEBUG")
        await process.until(lambda: "no such thing" in process.problem)
        assert process.at_once == []
        assert process.reload.in_force.settings.buffer.batch_size == 100


async def test_a_file_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BATCH_SIZE=7\n")
    async with running(tmp_path) as process:
        (tmp_path / ".env").unlink()
        await process.until(lambda: ".env is gone" in process.problem)
        assert process.reload.in_force.settings.buffer.batch_size == 7
        process.env("BATCH_SIZE=7")
        await process.until(lambda: process.problem == "")
        assert process.stages == []


async def test_another_rate_of_a_route_is_taken_up(tmp_path: Path) -> None:
    file = tmp_path / "tsync.yaml"
    file.write_text(ROUTES)
    async with running(tmp_path) as process:
        file.write_text(f"{ROUTES}    max_rate: 500\n")
        process.reload.now()
        await process.until(lambda: len(process.stages) == 1)
        (made,) = process.stages
        assert declared_routes(made.settings).max_rates == {"a": 500}


async def test_routes_change_with_their_file_and_its_layout_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "tsync.yaml"
    file.write_text(ROUTES)
    async with running(tmp_path) as process:
        file.write_text(f"# a comment\n{ROUTES}")
        process.reload.now()
        await process.until(lambda: b"comment" in process.reload.in_force.settings.routes_file.content)  # type: ignore[union-attr]
        assert process.stages == []
        file.write_text(f"{ROUTES}    schema: schema.json\n")
        await process.until(lambda: "schema.json" in process.problem)
        assert "tsync.yaml:5" in process.problem
        # Not watched, since the file that names it was refused; it is found all the same.
        (tmp_path / "schema.json").write_text('{"fields": [{"name": "price", "type": "float"}]}')
        await process.until(lambda: len(process.stages) == 1)
        assert process.stages[0].instead_of, "the version that is replaced"
        (tmp_path / "schema.json").write_text('{"fields": [{"name": "price", "type": "int32"}]}')
        await process.until(lambda: len(process.stages) == 2)
        file.unlink()
        await process.until(lambda: "ROUTES_FILE" in process.reload.in_force.restart_for)
        assert len(process.stages) == 2


async def test_the_module_of_a_transform_needs_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "reloaded_transform.py"
    module.write_text("def shown(document):\n    return document\n")
    (tmp_path / "tsync.yaml").write_text(f"{ROUTES}    transform: reloaded_transform:shown\n")
    async with running(tmp_path) as process:
        await process.until(lambda: module in process.reload._modules)
        module.write_text("def shown(document):\n    return None\n")
        await process.until(lambda: process.count("restart needed") == 1)
        assert process.reload.in_force.restart_for == ("transform `reloaded_transform:shown`",)
        assert process.stages == []


async def test_a_schema_file_that_replicas_must_share_needs_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"fields": [{"name": "price", "type": "float"}]}')
    (tmp_path / ".env").write_text("TYPESENSE_SCHEMA_FILE=schema.json\n")
    async with running(tmp_path) as process:
        file.write_text('{"fields": [{"name": "price", "type": "int32"}]}')
        await process.until(lambda: process.count("restart needed") == 1)
        assert process.reload.in_force.restart_for == ("TYPESENSE_SCHEMA_FILE",)


async def test_who_asks_is_told_that_nothing_has_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with running(tmp_path) as process:
        process.reload.now()
        await process.until(lambda: "nothing has changed" in caplog.text)
        assert process.count("applied") == process.count("refused") == 0
