"""Runs the demo: servers, worker, listings, screen; then stops everything in order.

Invariant: no process is left behind. Whatever an orderly stop misses ends with this process (embedded/supervise.py).
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from rich.console import Console
from rich.live import Live

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.terminal import write_anywhere
from tsync_stream.demo import view
from tsync_stream.demo.keyboard import keyboard
from tsync_stream.demo.listings import SAMPLE_PLACE, SAMPLE_SEARCHES
from tsync_stream.demo.search import Typesense, count_source
from tsync_stream.demo.servers import Worker, demo_settings
from tsync_stream.demo.signals import interrupt_on_signals
from tsync_stream.demo.view import Sight
from tsync_stream.demo.writer import Writer, first_listings
from tsync_stream.embedded import EmbeddedServerError
from tsync_stream.embedded.environment import embedded_stack
from tsync_stream.settings.load import Settings, lines_for_exit

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
LOOK_INTERVAL_S = 0.2
LINE_INTERVAL_S = 1.0
LINES_PER_SEARCH = 5
LINES_BEFORE_SEARCH = 2
SAMPLE_SEARCH_S = 5.0
CHEAPEST = {
    "q": "*",
    "filter_by": f"position:({SAMPLE_PLACE}, 10 km)",
    "sort_by": "price:asc",
    "facet_by": "address.city",
}
_MONGO_TIMEOUT_MS = 2000


def main() -> int:
    """Run until interrupted, or for the requested seconds; returns the exit code."""
    write_anywhere()
    seconds = _seconds()
    console = Console(highlight=False)
    try:
        interrupt_on_signals()
        _run(console, demo_settings(os.environ), seconds)
    except KeyboardInterrupt:
        print("==> Stopped.", flush=True)
    except EmbeddedServerError as error:
        print(f"The demo cannot go on: {error}", file=sys.stderr)
        return EXIT_FAILED
    except ConfigurationError as error:
        print(lines_for_exit(error), file=sys.stderr)
        return EXIT_CONFIGURATION
    except BrokenPipeError:  # our reader has gone, as in `make demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return 0


def _seconds() -> float | None:
    parser = argparse.ArgumentParser(prog="python -m tsync_stream.demo", description=__doc__)
    parser.add_argument(
        "--seconds",
        type=float,
        default=os.environ.get("DEMO_SECONDS") or None,
        help="stop after this many seconds (or DEMO_SECONDS in the environment); default: at Ctrl-C",
    )
    seconds: float | None = parser.parse_args().seconds
    return seconds


def _run(console: Console, settings: Settings, seconds: float | None) -> None:
    with ExitStack() as closing:
        print(f"==> Starting MongoDB, two Redis servers and Typesense in {settings.embedded_dir}", flush=True)
        environment = closing.enter_context(
            embedded_stack(settings, [(settings.mongo.database, settings.mongo.collection)])
        )
        client: MongoClient[dict[str, Any]] = MongoClient(environment["MONGODB_URI"], timeoutMS=_MONGO_TIMEOUT_MS)
        source = closing.enter_context(client)[settings.mongo.database][settings.mongo.collection]
        first_listings(source)
        worker = Worker(settings, environment)
        closing.callback(worker.stop)
        print("==> Starting the worker: faust -A tsync_stream worker", flush=True)
        worker.start()

        for_writer, for_screen = (
            closing.enter_context(Typesense(environment, settings.typesense.collection_name)) for _ in range(2)
        )
        writer = Writer(source, for_writer)
        closing.callback(writer.stop)
        watch = Watch(source, for_screen, writer, worker)
        for line in _addresses(settings, environment, for_screen):
            console.print(line, soft_wrap=True, markup=False)  # never wrapped, so that it can be copied
        writer.start()
        with suppress(KeyboardInterrupt):
            _show(console, watch, None if seconds is None else time.monotonic() + seconds)
        print("==> Stopping, once the last change can be searched", flush=True)
        writer.stop()
        print(view.counts_line(watch.look("", typed=False)), flush=True)
    print(f"==> Stopped. The data stays in {settings.embedded_dir}; the next run continues from there.", flush=True)


def _addresses(settings: Settings, environment: Mapping[str, str], typesense: Typesense) -> list[str]:
    web = f"http://127.0.0.1:{settings.web_port}"
    mongo = settings.mongo
    return [
        "",
        "Search, from another terminal:",
        f"  {typesense.curl(q=SAMPLE_SEARCHES[0])}",
        "The cheapest within 10 km of a place, and how many in each city:",
        f"  {typesense.curl(**CHEAPEST)}",
        f"Write:   {environment['MONGODB_URI']} (collection {mongo.collection} of database {mongo.database})",
        f"Worker:  {web}/health   {web}/metrics   {settings.embedded_dir}/logs/worker.log",
        "",
    ]


class Watch:
    """Observes both sides and the worker from outside."""

    def __init__(
        self, source: Collection[dict[str, Any]], typesense: Typesense, writer: Writer, worker: Worker
    ) -> None:
        self._source = source
        self._typesense = typesense
        self._writer = writer
        self._worker = worker

    def look(self, query: str, *, typed: bool) -> Sight:
        """The present state. Raises EmbeddedServerError if the worker has ended."""
        report = self._worker.report()
        progress = self._writer.progress
        problems = [f"{problem['check']}: {problem['text']}" for problem in report["problems"]]
        return Sight(
            source=count_source(self._source),
            target=self._typesense.count(),
            progress=progress,
            hits=self._typesense.search(query, view.HITS_SHOWN) if query else None,
            query=query,
            typed=typed,
            problems=(*problems, progress.problem) if progress.problem else tuple(problems),
        )


def _show(console: Console, watch: Watch, deadline_s: float | None) -> None:
    if console.is_terminal and not console.is_dumb_terminal:
        _show_screen(console, watch, deadline_s)
    else:
        _show_lines(watch, deadline_s)


def _show_screen(console: Console, watch: Watch, deadline_s: float | None) -> None:
    samples = itertools.cycle(SAMPLE_SEARCHES)
    sample, next_sample_s = next(samples), time.monotonic() + SAMPLE_SEARCH_S
    with keyboard() as keys, Live(console=console, auto_refresh=False) as live:
        while not _over(deadline_s):
            if time.monotonic() > next_sample_s:
                sample, next_sample_s = next(samples), time.monotonic() + SAMPLE_SEARCH_S
            sight = watch.look(keys.query or sample, typed=bool(keys.query))
            live.update(view.screen(sight, keyboard=keys.present), refresh=True)
            keys.wait(LOOK_INTERVAL_S)


def _show_lines(watch: Watch, deadline_s: float | None) -> None:
    samples = itertools.cycle(SAMPLE_SEARCHES)
    for number in itertools.count(1):
        time.sleep(LINE_INTERVAL_S)
        if _over(deadline_s):
            return
        searching = number % LINES_PER_SEARCH == LINES_BEFORE_SEARCH
        sight = watch.look(next(samples) if searching else "", typed=False)
        print(view.counts_line(sight), flush=True)
        if sight.hits is not None:
            print("\n".join(view.search_lines(sight.hits)), flush=True)


def _over(deadline_s: float | None) -> bool:
    return deadline_s is not None and time.monotonic() >= deadline_s


if __name__ == "__main__":
    sys.exit(main())
