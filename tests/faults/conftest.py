"""Fixtures of the fault suite, and the table at the end of a run. Options are in `tests/conftest.py`."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.faults.support.report import Row, plain_table, write_markdown
from tests.faults.support.trial import Trial
from tests.support.stack import Names
from tsync_stream.embedded import EmbeddedStack

# An altered product is expected to fail, so the wait for it can be shorter.
ALTERED_Z_TIMEOUT_S = 15.0
_ROW = "fault"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """Servers for the tests of one promise alone: they are killed and wiped, which must not affect other tests."""
    with EmbeddedStack(
        tmp_path_factory.mktemp("faults"), mongod_arguments=["--setParameter", "enableTestCommands=1"]
    ) as servers:
        yield servers


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """The seed of a test, unless the command line sets another."""
    return lambda usual: request.config.getoption("--fault-seed") or usual


@pytest.fixture
def trial(stack: EmbeddedStack, names: Names, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Trial]:
    """What a fault test works with; it adds a row to the report, and a failure prints the seed."""
    changed = [name for name in request.config.getoption("--fault-altered").split(",") if name]
    made = Trial(stack, names, tmp_path, changed=changed)
    made.least_replicas = request.config.getoption("--fault-replicas")
    if changed:
        made.z_timeout_s = ALTERED_Z_TIMEOUT_S
    yield made
    # User properties travel with the report of the teardown, from whichever process ran the test.
    request.node.user_properties.append((_ROW, asdict(made.row)))
    if made.row.result == "failed":
        print(
            f"seed {made.row.seed}; to repeat it: .venv/bin/python -m pytest '{request.node.nodeid}' "
            f"--fault-seed {made.row.seed}"
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, and write it to the file named by `--fault-report`."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    ends = [report for report in reports if isinstance(report, pytest.TestReport) and report.when == "teardown"]
    values: list[Any] = [value for report in ends for name, value in report.user_properties if name == _ROW]
    rows = [Row(**value) for value in values]
    if not rows:
        return
    terminalreporter.section("faults")
    for line in plain_table(rows):
        terminalreporter.line(line)
    report = config.getoption("--fault-report")
    if report is not None:
        write_markdown(rows, report)
