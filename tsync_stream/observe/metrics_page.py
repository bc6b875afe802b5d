"""The table of docs/metrics.md, made of what `metrics.py` declares.

Written by `python -m tsync_stream.observe.metrics_page FILE`, between the marks of that page.
"""

import re
import sys
from pathlib import Path

from tsync_stream.observe.metrics import Metrics

BEGIN, END = "<!-- metrics: begin -->", "<!-- metrics: end -->"


def table() -> str:
    """One row for each metric."""
    rows = ["| metric | kind | labels | unit | meaning |", "| --- | --- | --- | --- | --- |"]
    for each in Metrics().instruments.declared:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        rows.append(f"| `{each.name}` | {each.kind} | {labels} | {each.unit} | {each.meaning} |")
    return "\n".join(rows)


def with_table(page: str) -> str:
    """The page with the table as it is now."""
    return re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n\n{table()}\n\n{END}", page, flags=re.DOTALL)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
