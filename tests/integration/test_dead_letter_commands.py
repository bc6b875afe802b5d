"""`dead-letters` and `replay` on a real MongoDB; listing and filing need no worker.

A few commands are run as a person types them. Most are called in this process, which is faster.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import click
import pytest
from bson.objectid import ObjectId

from tests.support.forked import ForkedWorker
from tests.support.stack import Names, mongo_client
from tests.support.worker import Worker, free_port
from tsync_stream.cli.dead_letters import run_dead_letters
from tsync_stream.cli.replay import run_replay
from tsync_stream.core.model import SHOWS_ANOTHER, SHOWS_NOTHING, SHOWS_OLDER, DeadLetter, Key
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.settings.load import load_settings
from tsync_stream.source.driver import open_client
from tsync_stream.state.database import state_database
from tsync_stream.state.dead_letters import DeadLetters, record_id

REFUSED = "rejected by Typesense (400)"
NOT_A_FRACTION = "field `price` is int64 in Typesense, and its number has a fraction"


@pytest.fixture
def worker(stack: EmbeddedStack, names: Names, tmp_path: Path) -> Worker:
    """The command line; no worker is started."""
    return ForkedWorker(stack, names, tmp_path)


class Filed:
    """Dead letters as a worker would have stored them."""

    def __init__(self, stack: EmbeddedStack, names: Names, database: Any) -> None:
        self._uri, self._name = stack.mongo.uri, names.state_database
        self.route = names.collection
        self._database = database

    def add(
        self,
        *keys: Key,
        reason: str = REFUSED,
        error: str = NOT_A_FRACTION,
        route: str = "",
        shown: str = SHOWS_OLDER,
    ) -> None:
        self._run([DeadLetter(route or self.route, key, reason, error, shown) for key in keys], [])

    def forget_what_is_shown(self) -> None:
        self._database.dead_letters.update_many({}, {"$unset": {"shown": ""}})

    def resolve(self, *keys: Key) -> None:
        self._run([], keys)

    def id_of(self, key: Key) -> str:
        return record_id(self.route, key)

    def make_older(self, key: Key, hours: int) -> None:
        change = {"last_seen": {"$subtract": ["$last_seen", hours * 3_600_000]}}
        self._database.dead_letters.update_one({"_id": self.id_of(key)}, [{"$set": change}])

    def jobs(self) -> list[Mapping[str, Any]]:
        return list(self._database.jobs.find())

    def _run(self, letters: list[DeadLetter], resolved: Any) -> None:
        async def write() -> None:
            client = open_client(self._uri)
            store = DeadLetters(state_database(client, self._name))
            await store.start()
            if letters:
                await store.add(letters)
            await store.resolve(self.route, resolved)
            client.close()

        asyncio.run(write())


@pytest.fixture
def filed(stack: EmbeddedStack, names: Names) -> Iterator[Filed]:
    with mongo_client(stack) as client:
        yield Filed(stack, names, client[names.state_database])


def dead_letters(worker: Worker, what: str = "list", record: str | None = None, **options: Any) -> str:
    """What `dead-letters` prints."""
    usual: dict[str, Any] = {"as_json": False, "which": "open", "limit": 20}
    settings = load_settings(Path("/nowhere"), worker.environment)
    with redirect_stdout(StringIO()) as out:
        assert asyncio.run(run_dead_letters(settings, what=what, record=record, **{**usual, **options})) == 0
    return out.getvalue()


def replay(worker: Worker, *ids: str, **options: Any) -> tuple[int, str]:
    """The exit code of `replay`, and what it prints."""
    usual: dict[str, Any] = {"everything": False, "dry_run": False, "wait": False, "cancel": None, "as_json": False}
    usual |= {"rate_per_s": None, "pause": None, "resume": None}
    settings = load_settings(Path("/nowhere"), worker.environment)
    with redirect_stdout(StringIO()) as out:
        code = asyncio.run(run_replay(settings, ids=ids, **{**usual, **options}))
    return code, out.getvalue()


def listed(worker: Worker, **options: Any) -> list[Key]:
    """The keys that `dead-letters --json` lists."""
    return [letter["key"] for letter in json.loads(dead_letters(worker, as_json=True, **options))["dead_letters"]]


HOUR_S = 3600.0

# ---- dead-letters ----


def test_without_dead_letters_there_is_nothing_to_list_count_or_replay(worker: Worker) -> None:
    for what in ("list", "count"):
        assert dead_letters(worker, what) == "There is no open dead letter.\n"
    code, text = replay(worker, everything=True)
    assert code == 0
    assert "nothing to replay" in text


def test_the_list_says_what_failed_why_and_how_to_fix_it(worker: Worker, filed: Filed) -> None:
    filed.add(*range(30))
    result = worker.run_command("dead-letters", "--limit", "7")
    assert result.returncode == 0, result.stderr
    assert sum("give `price` the" in line for line in result.stdout.splitlines()) == 7
    assert REFUSED.split(maxsplit=1)[0] in result.stdout
    assert "23 more" in result.stdout
    shown = [number for number in range(30) if filed.id_of(number)[:12] in result.stdout]
    assert len(shown) == 7


def test_the_newest_are_listed_first(worker: Worker, filed: Filed) -> None:
    for key, hours in (("b", 2), ("a", 1), ("c", 3)):
        filed.add(key)
        filed.make_older(key, hours)
    assert listed(worker) == ["a", "b", "c"]


def test_filters_narrow_the_list(worker: Worker, filed: Filed) -> None:
    filed.add("old", "new", "gone")
    filed.add("twin", reason="id collision", error="…")
    filed.add("far", route="another")
    filed.resolve("gone")
    filed.make_older("old", 5)
    assert set(listed(worker)) == {"old", "new", "twin", "far"}
    assert listed(worker, which="resolved") == ["gone"]
    assert set(listed(worker, which="all")) == {"old", "new", "gone", "twin", "far"}
    assert listed(worker, older_than_s=4 * HOUR_S) == ["old"]
    assert listed(worker, older_than_s=24 * HOUR_S) == []
    assert set(listed(worker, newer_than_s=4 * HOUR_S, route=filed.route)) == {"new", "twin"}
    assert listed(worker, reason="id collision") == ["twin"]
    assert listed(worker, route="another") == ["far"]
    # As a person types it.
    result = worker.run_command("dead-letters", "--json", "--older-than", "4h", "--status", "all", "--limit", "9")
    assert result.returncode == 0, result.stderr
    assert [letter["key"] for letter in json.loads(result.stdout)["dead_letters"]] == ["old"]


def test_any_unique_prefix_of_an_id_shows_its_dead_letter_in_full(worker: Worker, filed: Filed) -> None:
    key = ObjectId("65a000000000000000000001")
    filed.add(key)
    for digits in (4, 12, 64):
        text = " ".join(dead_letters(worker, "show", filed.id_of(key)[:digits]).split())
        assert f'ObjectId("{key}")' in text
        assert NOT_A_FRACTION in text
        assert "give it the type float" in text
        assert "TYPESENSE_SCHEMA_FILE" in text
    shown = json.loads(dead_letters(worker, "show", filed.id_of(key)[:8], as_json=True))
    assert (shown["id"], shown["key"], shown["attempts"]) == (filed.id_of(key), {"$oid": str(key)}, 1)


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (SHOWS_OLDER, "an older version of the document, if one was ever synced (ON_REJECT=keep)"),
        (SHOWS_NOTHING, "nothing under this id"),
        (SHOWS_ANOTHER, "another document, which has the same id"),
    ],
)
def test_a_dead_letter_says_what_typesense_shows_meanwhile(worker: Worker, filed: Filed, shown: str, told: str) -> None:
    filed.add("a", shown=shown)
    assert told in " ".join(dead_letters(worker, "show", filed.id_of("a")).split())
    assert json.loads(dead_letters(worker, "show", filed.id_of("a"), as_json=True))["shown"] == shown


def test_a_record_without_that_information_says_nothing_about_it(worker: Worker, filed: Filed) -> None:
    filed.add("a")
    filed.forget_what_is_shown()
    assert "shown" not in dead_letters(worker, "show", filed.id_of("a"))
    assert json.loads(dead_letters(worker, "show", filed.id_of("a"), as_json=True))["shown"] is None


def test_an_ambiguous_prefix_is_refused_and_both_ids_are_named(worker: Worker, filed: Filed) -> None:
    seen: dict[str, int] = {}
    for number in count():
        other = seen.setdefault(filed.id_of(number)[:4], number)
        if other != number:
            break
    filed.add(number, other)
    beginning = filed.id_of(number)[:4]
    for ask in (lambda: dead_letters(worker, "show", beginning), lambda: replay(worker, beginning)):
        with pytest.raises(click.UsageError) as refused:
            ask()
        assert filed.id_of(number)[:12] in refused.value.format_message()
        assert filed.id_of(other)[:12] in refused.value.format_message()
    assert filed.jobs() == []


@pytest.mark.parametrize("wrong", ["0123456789ab", "abc", "not-hex", "$ne"])
def test_an_invalid_id_is_refused_and_quoted(worker: Worker, filed: Filed, wrong: str) -> None:
    filed.add("a")
    with pytest.raises(click.UsageError, match=re.escape(wrong)):
        dead_letters(worker, "show", wrong)


def test_counts_are_by_route_and_reason(worker: Worker, filed: Filed) -> None:
    filed.add(1, 2, 3)
    filed.add(4, reason="id collision")
    filed.add(5, route="another")
    assert json.loads(dead_letters(worker, "count", as_json=True)) == {
        "total": 5,
        "by_reason": [
            {"route": filed.route, "reason": REFUSED, "count": 3},
            *sorted(
                (
                    {"route": filed.route, "reason": "id collision", "count": 1},
                    {"route": "another", "reason": REFUSED, "count": 1},
                ),
                key=lambda item: str(item["route"]),
            ),
        ],
    }
    assert REFUSED in dead_letters(worker, "count")


def test_output_contains_no_terminal_control_sequences(worker: Worker, filed: Filed) -> None:
    filed.add("key \x1b[2J\x9b", error="its words \x1b]0;title\x07 [bold]not markup[/bold]")
    for arguments in ([], ["show", filed.id_of("key \x1b[2J\x9b")]):
        shown = dead_letters(worker, *arguments)
        assert not set(shown) & {"\x1b", "\x07", "\x9b"}
    assert "[bold]not markup[/bold]" in " ".join(shown.split())


NONSENSE: list[Callable[[Worker], Any]] = [
    lambda worker: dead_letters(worker, "show"),
    lambda worker: dead_letters(worker, "list", "abcd"),
    lambda worker: dead_letters(worker, older_than_s=1e15),
    replay,
    lambda worker: replay(worker, dry_run=True, wait=True),
    lambda worker: replay(worker, everything=True, reason="x"),
    lambda worker: replay(worker, "abcd", everything=True),
    lambda worker: replay(worker, cancel="x", everything=True),
]


def test_contradictory_options_are_refused(worker: Worker, filed: Filed) -> None:
    filed.add("a")
    for ask in NONSENSE:
        with pytest.raises(click.UsageError):
            ask(worker)
    assert filed.jobs() == []


@pytest.mark.parametrize(
    ("arguments", "said"), [(["replay"], "--all"), (["dead-letters", "--older-than", "soon"], "90s")], ids=" ".join
)
def test_a_refused_command_line_says_what_to_type_instead(
    worker: Worker, filed: Filed, arguments: list[str], said: str
) -> None:
    filed.add("a")
    result = worker.run_command(*arguments)
    assert result.returncode == 2, result.stdout
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert filed.jobs() == []


def test_without_mongodb_the_commands_say_what_to_do(worker: Worker) -> None:
    secret = "hunter2"
    worker.environment |= {"MONGODB_URI": f"mongodb://user:{secret}@127.0.0.1:{free_port()}/?replicaSet=rs0"}
    for arguments in (["dead-letters"], ["replay", "--all"]):
        result = worker.run_command(*arguments)
        assert result.returncode == 1
        assert "connection refused" in result.stderr
        assert "tsync check" in result.stderr
        assert secret not in result.stderr
        assert "Traceback" not in result.stderr


# ---- replay ----


def test_a_replay_is_filed_with_its_selection(worker: Worker, filed: Filed) -> None:
    filed.add("a", "b")
    filed.add("c", reason="id collision")
    result = worker.run_command("replay", "--reason", REFUSED, filed.id_of("a")[:12])
    assert result.returncode == 0, result.stderr
    assert "1 open dead letter is chosen" in result.stdout
    assert "No replica is live" in result.stdout
    (job,) = filed.jobs()
    assert (job["kind"], job["status"], job["arguments"]["chosen"]) == ("replay", "open", 1)
    assert job["arguments"]["selection"]["ids"] == [filed.id_of("a")]
    assert job["_id"] in result.stdout


def test_a_replay_that_cannot_help_is_explained_and_not_filed(worker: Worker, filed: Filed) -> None:
    filed.add("x" * 2000, "", reason="unusable id", error="it has 2000 bytes, more than 1024")
    code, text = replay(worker, everything=True)
    assert code == 1
    assert "2 of them cannot be queued" in text
    assert filed.jobs() == []
    assert "another `_id`" in " ".join(dead_letters(worker, "show", filed.id_of("x" * 2000)).split())
    # Those that can be queued are filed nevertheless.
    filed.add("good")
    code, text = replay(worker, everything=True)
    assert code == 0
    assert "2 of them cannot be queued" in text
    assert filed.jobs()[0]["arguments"]["chosen"] == 1


def test_a_resolved_dead_letter_is_not_replayed(worker: Worker, filed: Filed) -> None:
    filed.add("a")
    filed.resolve("a")
    code, text = replay(worker, filed.id_of("a")[:12])
    assert code == 0
    assert "nothing to replay" in text
    assert filed.jobs() == []
