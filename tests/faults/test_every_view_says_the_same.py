"""Each server is stopped in turn: health, metrics, dashboard, log and an alert agree about it within ten seconds.

They agree again, that all is well, once it is back. If outages are held for long (`--fault-hold`), each server has its
turn; otherwise two stand for all.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.faults.support.trial import Trial
from tests.support.prometheus import Prometheus, prometheus
from tests.support.waiting import wait_for
from tests.support.worker import Worker, get

pytestmark = pytest.mark.timeout(600)
Seed = Callable[[int], int]

# As health names them, and what the log calls them.
SERVERS = {"typesense": "Typesense", "primary": "primary Redis", "backup": "backup Redis", "mongodb": "MongoDB"}
AGREE_WITHIN_S = 10.0
# The circuit breaker, a tier that was set aside and the capture of the change stream come back by themselves.
RECOVER_WITHIN_S = 40.0
LONG_S = 20.0


class Views:
    """What each view says of the servers that cannot be reached."""

    def __init__(self, replica: Worker, server: Prometheus) -> None:
        self._replica = replica
        self._server = server
        self._log_from = 0

    def begin(self) -> None:
        """What was logged before does not count."""
        self._log_from = len(self._replica.log())

    def health(self) -> set[str]:
        return unreachable(self._replica.health())

    def dashboard(self) -> set[str]:
        overview = get(f"http://127.0.0.1:{self._replica.port}/api/v1/overview").json()
        return {name for name, found in overview["servers"].items() if found["state"] != "reachable"}

    def levels(self) -> dict[str, bool]:
        """Which of the views that name no server say that something is wrong, and which of them name it."""
        counts = {name: value for name, value in self._replica.metrics().items() if "tsync_health_problems" in name}
        states = self._server.alerts()
        return {
            "metrics": any(counts.values()),
            "alert": any(states[name] != "inactive" for name in ("TsyncDegraded", "TsyncUnhealthy")),
        }

    def logged(self, words: str) -> bool:
        """Whether a line of the log names the server."""
        return words in self._replica.log()[self._log_from :]

    def of_outage(self, name: str) -> dict[str, bool]:
        """Which views tell of the outage of this server, and of no other's."""
        return {
            "health": self.health() == {name},
            "dashboard": self.dashboard() == {name},
            "log": self.logged(SERVERS[name]),
            **self.levels(),
        }

    def of_trouble(self) -> dict[str, bool]:
        """Which views tell of anything at all."""
        return {"health": bool(self.health()), "dashboard": bool(self.dashboard()), **self.levels()}


def unreachable(report: Mapping[str, Any]) -> set[str]:
    """The servers that a health page calls unreachable."""
    return {server["name"] for server in report["servers"] if server["state"] != "reachable"}


def test_every_view_names_the_server_that_is_stopped(
    trial: Trial, seed: Seed, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stack = trial.stack
    servers = {
        "typesense": stack.typesense,
        "primary": stack.primary_redis,
        "backup": stack.backup_redis,
        "mongodb": stack.mongo,
    }
    if request.config.getoption("--fault-hold") < LONG_S:
        servers = {name: servers[name] for name in ("primary", "mongodb")}
    with trial.under_load("54 each server stopped in turn", seed(654), rate=20.0):
        (replica, *_) = trial.cluster.replicas
        with prometheus(tmp_path, [replica.port]) as server:
            views = Views(replica, server)
            for name, stopped in servers.items():
                wait_for(
                    lambda: not any(views.of_trouble().values()),
                    RECOVER_WITHIN_S,
                    lambda: f"{views.of_trouble()}, {replica.health()['problems']}",
                )
                views.begin()
                stopped.kill()
                wait_for(
                    lambda name=name: all(views.of_outage(name).values()),  # type: ignore[misc]
                    AGREE_WITHIN_S,
                    lambda name=name: f"{name}: {views.of_outage(name)}, {replica.health()}",  # type: ignore[misc]
                )
                stopped.start()
            wait_for(
                lambda: not any(views.of_trouble().values()),
                RECOVER_WITHIN_S,
                lambda: f"{views.of_trouble()}, {replica.health()['problems']}",
            )
