"""Every command, and the worker, refuses a routes file with problems before it does anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = "routes:\n  products:\n    source: shop.products\n    target: products\n"


NOBODY = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100"


def run(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`tsync-stream` in a working directory, with nothing of this process's settings."""
    environment = {"PATH": os.environ["PATH"], "PARTITIONS": "none", "SECRET": "s3cret", **settings}
    command = [sys.executable, "-m", "tsync_stream", *arguments]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("command", ["worker", "check", "status"])
def test_a_command_ends_with_all_problems_of_settings_and_routes(tmp_path: Path, command: str) -> None:
    text = GOOD + "    filter: {$where: '1'}\n  drafts: {source: '${SECRET}', target: drafts}\n"
    (tmp_path / "tsync.yaml").write_text(text, encoding="utf-8")
    found = run(tmp_path, command)
    assert found.returncode == 2
    assert found.stdout == ""
    lines = found.stderr.splitlines()
    assert lines[0] == "tsync-stream cannot start: 3 problems"
    assert [line.partition(" is ")[0] for line in lines[1:4]] == [
        "  - PARTITIONS='none'",
        "  - tsync.yaml:5:14, route products: `$where`",
        "  - tsync.yaml:6:20, route drafts: `source: ${SECRET}`",
    ]
    assert lines[4] == "docs/routes.md describes the routes file, and docs/settings.md the settings."
    assert "s3cret" not in found.stderr


def test_help_needs_no_valid_file(tmp_path: Path) -> None:
    (tmp_path / "tsync.yaml").write_bytes(b"\xff")
    found = run(tmp_path, "--help")
    assert found.returncode == 0
    assert "worker" in found.stdout


def test_only_who_runs_transforms_needs_their_modules(tmp_path: Path) -> None:
    (tmp_path / "tsync.yaml").write_text(f"{GOOD}    transform: nosuch:product\n", encoding="utf-8")
    for command in ("worker", "check", "plan"):
        found = run(tmp_path, command, PARTITIONS="8")
        assert found.returncode == 2, found.stderr
        assert "tsync.yaml:5:5, route products: `nosuch:product` is not found" in found.stderr
    assert "nosuch" not in run(tmp_path, "status", PARTITIONS="8", MONGODB_URI=NOBODY).stderr
