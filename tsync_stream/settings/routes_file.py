"""The routes file as it was read at the start: its bytes, and the variables that it names.

Invariants: it is read once, so a file that changes later changes nothing in this process. It is found in the working
directory or where ROUTES_FILE says, nowhere else. The values of variables are secrets: no `repr` shows them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NAME = "tsync.yaml"
MAX_BYTES = 256 * 1024

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""`${NAME}` in the file stands for a variable of the environment or of `.env`."""

REPLACED = frozenset(
    {"MONGODB_DATABASE", "MONGODB_COLLECTION", "TYPESENSE_COLLECTION_NAME", "ROUTE_NAME", "TYPESENSE_SCHEMA_FILE"}
)
"""Settings that have no effect where there is a routes file: it says this of every route."""


@dataclass(frozen=True, slots=True)
class RoutesFile:
    """`content` is not checked yet, not even for being text. `variables`: pairs of those that it may name."""

    path: Path
    content: bytes = field(repr=False)
    variables: tuple[tuple[str, str], ...] = field(repr=False)

    def __str__(self) -> str:
        return str(self.path)


def present_file(directory: Path) -> Path | None:
    """`tsync.yaml` in a directory, if there is one."""
    path = directory / NAME
    return path if path.exists() else None


def read_routes_file(path: Path, variables: Mapping[str, str]) -> RoutesFile:
    """Read it, with those of `variables` that it names. Raises ValueError with a reason, as `Form.inspect` does."""
    if path.is_dir():
        raise ValueError("it is a folder; Docker creates one where the file to mount does not exist")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"the file is larger than {MAX_BYTES // 1024} KB")
    named = sorted(set(VARIABLE.findall(content.decode("utf-8", "replace"))))
    return RoutesFile(path, content, tuple((name, variables[name]) for name in named if name in variables))
