"""The lock files are complete, agree with pyproject.toml and with each other, and name no package index."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RUNTIME, EVERYTHING = "requirements.lock", "requirements-dev.lock"

_PIN = re.compile(
    r"^([a-z0-9-]+)==(\S+)(?: ; ([^\\]+?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def pins(name: str) -> dict[str, str]:
    """The version of each package."""
    return {package: version for package, version, _, _ in _PIN.findall((ROOT / name).read_text())}


def required(*extras: str) -> set[str]:
    """The packages that pyproject.toml names, by their canonical names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return {re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", line, maxsplit=1)[0]).lower() for line in lines}


@pytest.mark.parametrize("name", [RUNTIME, EVERYTHING])
def test_a_lock_holds_only_pins_with_hashes(name: str) -> None:
    rest = _PIN.sub("", (ROOT / name).read_text())
    assert [line for line in rest.splitlines() if line and not line.lstrip().startswith("#")] == []
    assert "://" not in rest


def test_every_requirement_is_locked() -> None:
    assert required() <= pins(RUNTIME).keys()
    assert required("embedded", "otel", "dev") <= pins(EVERYTHING).keys()


def test_deployed_versions_are_the_tested_ones() -> None:
    assert pins(RUNTIME).items() <= pins(EVERYTHING).items()
