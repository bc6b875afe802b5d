"""The result of every fault: one row per test, printed as a table at the end of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Row:
    """One fault, and how it ended."""

    fault: str
    seed: int
    replicas: int = 0
    operations: int = 0
    epochs: int = 0
    take_over_s: list[float] = field(default_factory=list)
    recovery_s: float | None = None
    steps_back: int = 0
    looks: int = 0
    result: str = "failed"

    def cells(self) -> list[str]:
        """The cells of its line in the table."""
        return [
            self.fault,
            str(self.seed),
            str(self.replicas),
            str(self.operations),
            str(self.epochs),
            f"{max(self.take_over_s):.1f}" if self.take_over_s else "",
            "" if self.recovery_s is None else f"{self.recovery_s:.1f}",
            str(self.looks),
            str(self.steps_back),
            self.result,
        ]


HEADINGS = [
    "fault",
    "seed",
    "replicas",
    "operations",
    "epochs opened",
    "take-over s",
    "recovery s",
    "looks",
    "steps back",
    "result",
]


def plain_table(rows: Sequence[Row]) -> list[str]:
    """The table as aligned lines, for a terminal."""
    table = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    return [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in table)
    ]


def write_markdown(rows: Sequence[Row], path: Path) -> None:
    """Write the table as Markdown."""
    lines = [HEADINGS, ["---", *["---:"] * (len(HEADINGS) - 1)], *(row.cells() for row in rows)]
    path.write_text("".join(f"| {' | '.join(cells)} |\n" for cells in lines), encoding="utf-8")
