"""The side-by-side benchmark: every scenario with every contender, in turn, each on fresh servers of its own.

    python -m bench [--quick] [--only SCENARIO ...] [--contender NAME ...] [--rounds N] [--backlog DOCUMENTS]
                    [--own-processor] [--report DIRECTORY]

Invariants: an interruption ends every process that was started, and what was measured so far is still reported; a
contender that fails does not stop the others. The exit code is 0 if nothing went wrong with tsync-stream; missed goals
are printed, but do not change it.
"""

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from bench import report
from bench.contenders import CONTENDERS, Tsync
from bench.goals import verdicts
from bench.processors import own_processor
from bench.results import Result, Results, middle
from bench.running import Scenario, Sizes, execute
from bench.scenarios import SCENARIOS
from tsync_stream.settings.table import BUFFER, PIPELINE

EXIT_WRONG = 1
EXIT_INTERRUPTED = 130
_REPORT = Path("build/bench")
_GIGABYTE = 1 << 30


def main() -> int:
    """Measure, then report. Returns the exit code."""
    options = _options()
    sizes = Sizes.quick() if options.quick else Sizes()
    if options.backlog:
        sizes = replace(sizes, backlog=options.backlog)
    processor = _own_processor() if options.own_processor else None
    results: list[Result] = []
    began_s, interrupted = time.monotonic(), False
    try:
        with _signals_interrupt():
            for scenario, contenders in _chosen(options.only, options.contender):
                rounds: dict[str, list[Result]] = {contender: [] for contender in contenders}
                try:
                    for contender in contenders * options.rounds:
                        rounds[contender].append(execute(scenario, contender, sizes, processor))
                        print(report.progress_line(rounds[contender][-1]), flush=True)
                finally:
                    results += map(middle, filter(None, rounds.values()))
    except KeyboardInterrupt:
        interrupted = True
        print("==> Interrupted; every process has ended", flush=True)
    facts = _facts(results, time.monotonic() - began_s)
    if processor is not None:
        facts["Typesense"] = "has a processor of its own; everything else shares the others"
    if options.rounds > 1:
        facts["rounds"] = f"{options.rounds}, of which the median is shown"
    if options.quick:
        facts["sizes"] = "tiny, so the figures mean nothing"
    if interrupted:
        facts["the run"] = "was interrupted"
    _report(options.report, facts, Results(results))
    if interrupted:
        return EXIT_INTERRUPTED
    return 0 if all(result.good for result in results if result.contender == Tsync.name) else EXIT_WRONG


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see whether it works")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="SCENARIO",
        help=f"any of {', '.join(SCENARIOS)}; or latency",
    )
    parser.add_argument("--contender", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="NAME")
    parser.add_argument(
        "--rounds", type=int, default=1, metavar="N", help="run every contender N times, in turn, and report medians"
    )
    parser.add_argument("--backlog", type=int, metavar="DOCUMENTS", help="size of the backlog, instead of 100,000")
    parser.add_argument(
        "--own-processor",
        action="store_true",
        help="one processor for Typesense, the others for the rest (Linux)",
    )
    parser.add_argument("--report", type=Path, default=_REPORT, metavar="DIRECTORY", help=f"default: {_REPORT}")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    unknown = [name for name in options.only if not any(_is_meant(scenario, [name]) for scenario in SCENARIOS)]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    return options


def _own_processor() -> int:
    try:
        return own_processor()
    except OSError as error:
        sys.exit(f"--own-processor: {error}")


def _is_meant(scenario: str, chosen: Sequence[str]) -> bool:
    return not chosen or any(scenario == name or scenario.startswith(f"{name}-") for name in chosen)


def _chosen(only: Sequence[str], contenders: Sequence[str]) -> Iterator[tuple[Scenario, list[str]]]:
    for name, scenario in SCENARIOS.items():
        if _is_meant(name, only):
            yield scenario, [contender for contender in scenario.contenders if contender in contenders]


def _facts(results: Sequence[Result], seconds: float) -> dict[str, Any]:
    """What one has to know about a run to compare it with another."""
    changed = {each.name: os.environ[each.name] for each in (*BUFFER, *PIPELINE) if each.name in os.environ}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "processors": os.cpu_count(),
        "memory GB": round(psutil.virtual_memory().total / _GIGABYTE),
        "servers": next((each.servers for each in results if each.servers), ""),
        "minutes": round(seconds / 60, 1),
        "settings other than the default": ", ".join(f"{name}={value}" for name, value in changed.items()) or "none",
    }


def _report(directory: Path, facts: dict[str, Any], results: Results) -> None:
    found = verdicts(results)
    report.write(directory, facts, results, found)
    print("\n" + "\n".join(line for table in report.tables(results, found) for line in table.plain()))
    print(f"{', '.join(f'{name}: {value}' for name, value in facts.items())}")
    print(f"Written to {directory}: results.json, results.md and the plots")


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """The first signal interrupts the run. Further ones are ignored: stopping takes a bounded time."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in numbers:
        signal.signal(each, interrupt)
    yield


if __name__ == "__main__":
    sys.exit(main())
