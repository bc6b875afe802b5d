"""The way of one change as docs/architecture.md lists it, and what the product's files import."""

import ast
import re
from functools import cache
from pathlib import Path

import tsync_stream

PACKAGE = Path(tsync_stream.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"
STAGES = ("capture", "queue", "sync")


def between(name: str) -> str:
    """The part of the page between two marks of this name."""
    return (
        PAGE.read_text(encoding="utf-8").partition(f"<!-- {name}: begin -->")[2].partition(f"<!-- {name}: end -->")[0]
    )


def stations() -> list[str]:
    """The files of the list, in its order, as paths inside the package."""
    return re.findall(r"^\d+\. `([\w/]+\.py)`", between("way"), re.MULTILINE)


def stage_of(path: str) -> str:
    """The room of a file."""
    return path.partition("/")[0]


@cache
def imports_of(path: str) -> frozenset[str]:
    """The files of the package that a file imports, for typing or at any time."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        files = (f"{name.removeprefix('tsync_stream.').replace('.', '/')}.py" for name in names)
        found |= {file for file in files if (PACKAGE / file).is_file()}
    return frozenset(found)
