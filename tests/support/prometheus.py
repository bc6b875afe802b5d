"""A real Prometheus that scrapes workers, with the alert rules of deploy/prometheus, asked through its HTTP API."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.programs import program
from tests.support.waiting import wait_for
from tests.support.worker import free_port
from tsync_stream.embedded.supervise import death_signal_setter

EXAMPLE = Path(__file__).parents[2] / "deploy/prometheus/prometheus.yaml"
_TIMEOUT_S = 10.0


class Prometheus:
    """The API of a Prometheus."""

    def __init__(self, port: int, job: str) -> None:
        self.job = job
        # Several threads ask. One that looks for idle connections might close what another is about to read from.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_TIMEOUT_S, limits=limits)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        try:
            return self._client.get("/-/ready").is_success
        except httpx.HTTPError:
            return False

    def query(self, expression: str, within: str = "") -> list[Mapping[str, Any]]:
        """The series of an expression now; with `within`, such as `5m`, also those that had a value within that time.

        Fails if Prometheus refuses the expression.
        """
        asked = f"last_over_time(({expression})[{within}:1s])" if within else expression
        answer = self._client.post("/api/v1/query", data={"query": asked}).json()
        assert answer["status"] == "success", (expression, answer)
        found: list[Mapping[str, Any]] = answer["data"]["result"]
        return found

    def alerts(self) -> dict[str, str]:
        """The state of each alert rule: `inactive`, `pending`, `firing`, or `unknown` before its first evaluation."""
        groups = self._client.get("/api/v1/rules").raise_for_status().json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert [(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")] == []
        return {rule["name"]: rule["state"] for rule in rules}

    def targets(self) -> list[str]:
        """The health of each target: `up`, `down` or `unknown`."""
        found = self._client.get("/api/v1/targets").raise_for_status().json()["data"]["activeTargets"]
        return [target["health"] for target in found]


@contextmanager
def prometheus(directory: Path, ports: Sequence[int]) -> Iterator[Prometheus]:
    """Prometheus, configured as our example says, but that it scrapes these ports of this machine every second."""
    binary = program("prometheus", "prometheus")
    configuration = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(EXAMPLE.with_name(name)) for name in configuration["rule_files"]]
    (scraped,) = configuration["scrape_configs"]
    (targets,) = scraped["static_configs"]
    targets["targets"] = [f"127.0.0.1:{port}" for port in ports]
    file, port = directory / "prometheus.yaml", free_port()
    file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    arguments = [f"--config.file={file}", f"--storage.tsdb.path={directory / 'data'}"]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [binary, *arguments, f"--web.listen-address=127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            preexec_fn=death_signal_setter(),  # noqa: PLW1509 - it makes one system call
        )
    api = Prometheus(port, scraped["job_name"])
    try:
        wait_for(api.is_ready, 20.0, lambda: (directory / "prometheus.log").read_text()[-2000:])
        yield api
    finally:
        api.close()
        process.kill()
        process.wait(_TIMEOUT_S)
