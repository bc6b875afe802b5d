"""A run as tables for a terminal and as Markdown, as JSON, and as plots."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.goals import Verdict
from bench.plots import Group, bar_plot
from bench.results import Result, Results, show
from bench.scenarios import SCENARIOS

_PROCESSES = ("contender", "typesense", "mongod", "redis", "writer")
_PERCENTILES = ("p50", "p90", "p99")


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Cells in rows, under a title."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def plain(self) -> Iterator[str]:
        """Lines in columns, for a terminal."""
        lines = [self.headings, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.headings))]
        yield self.title
        for line in lines:
            cells = zip(line, widths, strict=True)
            yield "  ".join(
                cell.ljust(width) if place < 2 else cell.rjust(width) for place, (cell, width) in enumerate(cells)
            ).rstrip()
        yield ""

    def markdown(self) -> Iterator[str]:
        """The same as Markdown."""
        yield f"### {self.title}\n"
        numbers = len(self.headings) - 2
        for line in (self.headings, ["---", "---", *["---:"] * numbers], *self.rows):
            yield f"| {' | '.join(line)} |"
        yield ""


def tables(results: Results, verdicts: Sequence[Verdict]) -> list[Table]:
    """All tables that have rows."""
    made = [
        _throughput(results),
        _latency(results),
        _figures(results),
        _outcomes(results),
        Table(
            "Goals",
            ["goal", "wanted", "measured", "verdict"],
            [[v.goal.text, v.wanted, v.measured, v.word] for v in verdicts],
        ),
    ]
    return [table for table in made if table.rows]


def write(directory: Path, facts: Mapping[str, Any], results: Results, verdicts: Sequence[Verdict]) -> None:
    """Write results.json, results.md and the plots into the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    document = {
        **facts,
        "results": [dataclasses.asdict(result) for result in results],
        "goals": [{"goal": v.goal.text, "wanted": v.wanted, "measured": v.value, "verdict": v.word} for v in verdicts],
    }
    (directory / "results.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    lines = [line for table in tables(results, verdicts) for line in table.markdown()]
    facts_line = ", ".join(f"{name}: {value}" for name, value in facts.items())
    (directory / "results.md").write_text("\n".join([f"{facts_line}.\n", *lines]), encoding="utf-8")
    for name, text in _plots(results):
        (directory / f"{name}.svg").write_text(text, encoding="utf-8")


def progress_line(result: Result) -> str:
    """One result as one line, printed as soon as it is known."""
    if result.failure:
        return f"{result.scenario}, {result.contender}: FAILED: {result.failure}"
    parts = [] if result.rate_per_s is None else [f"{show(result.rate_per_s)}/s"]
    parts += [f"{name} {show(value)} ms" for name, value in result.latency_ms.items()]
    if result.cpu_percent:
        parts.append(f"{show(result.cpu_percent.get('contender'))}% CPU")
    elif result.cpu_us:
        parts.append(f"{show(result.cpu_us.get('contender'))} µs CPU a change")
    parts += [f"{show(value)} {name}" for name, value in result.figures.items()]
    return f"{result.scenario}, {result.contender}: {', '.join([*parts, result.comparison])}"


def _names(result: Result) -> list[str]:
    return [SCENARIOS[result.scenario].title, result.contender]


def _throughput(results: Results) -> Table:
    rows = [
        [
            *_names(result),
            show(result.rate_per_s),
            show(results.ratio(result.scenario, result.contender, "raw")),
            show(results.ratio(result.scenario, result.contender, "batching")),
            *(show(result.cpu_us.get(process)) for process in _PROCESSES),
            show(result.peak_memory_mb),
        ]
        for result in results
        if result.rate_per_s is not None
    ]
    cpu = [f"{process} µs" for process in _PROCESSES]
    headings = ["scenario", "contender", "changes/s", "÷ raw", "÷ batching", *cpu, "peak MB"]
    return Table("Throughput, and CPU time a change", headings, rows)


def _latency(results: Results) -> Table:
    rows = [
        [
            *_names(result),
            *(show(result.latency_ms.get(percentile)) for percentile in _PERCENTILES),
            *(show(result.cpu_percent.get(process)) for process in _PROCESSES),
            show(result.peak_memory_mb),
        ]
        for result in results
        if result.cpu_percent
    ]
    cpu = [f"{process} %" for process in _PROCESSES]
    headings = ["scenario", "contender", *(f"{name} ms" for name in _PERCENTILES), *cpu, "peak MB"]
    return Table("Latency from write to visible, and CPU in percent of a core", headings, rows)


def _figures(results: Results) -> Table:
    rows = [[*_names(result), name, show(value)] for result in results for name, value in result.figures.items()]
    return Table("Other figures", ["scenario", "contender", "figure", "value"], rows)


def _outcomes(results: Results) -> Table:
    rows = [
        [*_names(result), (result.failure or result.comparison).replace("\n", " ").replace("|", "/")]
        for result in results
    ]
    return Table("All of Typesense compared with all of MongoDB, at the end", ["scenario", "contender", "result"], rows)


def _plots(results: Results) -> Iterator[tuple[str, str]]:
    def groups(value: Callable[[Result], float | None], suffix: str = "") -> list[Group]:
        found: dict[str, list[tuple[str, float]]] = {}
        for result in results:
            number = value(result)
            if number is not None:
                found.setdefault(result.scenario + suffix, []).append((result.contender, number))
        return [Group(name, values) for name, values in found.items()]

    plots = {
        "throughput": ("Changes a second (longer is better)", groups(lambda result: result.rate_per_s)),
        "latency": (
            "Milliseconds from write to visible (shorter is better)",
            [
                *groups(lambda result: result.latency_ms.get("p50"), " p50"),
                *groups(lambda result: result.latency_ms.get("p99"), " p99"),
            ],
        ),
        "cpu": (
            "CPU time of the contender a change, in µs (shorter is better)",
            groups(lambda result: result.cpu_us.get("contender") if result.rate_per_s else None),
        ),
        "memory": (
            "The most resident memory of the contender, in MB (shorter is better)",
            groups(lambda result: result.peak_memory_mb or None),
        ),
    }
    for name, (title, found) in plots.items():
        if found:
            yield name, bar_plot(title, found)
