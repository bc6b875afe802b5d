"""The house rules that no linter knows: how long a module is, what a class may not be, and words that are not English.

A module that needs the limit raised has two jobs; one that is shorter belongs to its only caller.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "tsync_stream"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))

MOST_LINES, FEWEST_LINES = 350, 25

# Everything that people read.
PROSE = (
    "tsync_stream",
    "README.md",
    "CONTRIBUTING.md",
    "docs",
    "deploy",
    "Makefile",
    "CHANGELOG.md",
    "bench",
    "tests",
    "examples",
)
SUFFIXES = {".py", ".md", ".yml", ".conf", ".js", ""}
# Word by word translations; what they mean is "fix", "forever", "recently", "if it is", "is healthy again".
NOT_ENGLISH = re.compile(r"\bmend|for ever\b|\bof late\b|\bbe it that\b|\bis well again\b", re.IGNORECASE)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_one_job(module: str) -> None:
    lines = len((ROOT / module).read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES
    # A package's face says what the package is for, which may take a line or none.
    assert lines >= FEWEST_LINES or module.endswith("__init__.py")


def classes(module: str) -> Iterator[str]:
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    return (node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


@pytest.mark.parametrize("module", MODULES)
def test_what_a_part_uses_is_passed_to_it_and_not_a_bag_of_tools(module: str) -> None:
    assert [name for name in classes(module) if name.endswith("Tools")] == []


def texts() -> Iterator[Path]:
    for name in PROSE:
        place = ROOT / name
        files = [place] if place.is_file() else place.rglob("*")
        yield from (path for path in files if path.is_file() and path.suffix in SUFFIXES and path != Path(__file__))


def test_the_prose_is_english() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if NOT_ENGLISH.search(line)
    ]
    assert found == []
