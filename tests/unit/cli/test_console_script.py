"""The console script `tsync`: which commands it has, its help, its start, its exit codes, and completion in shells."""

import base64
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click.testing
import pytest

from tsync_stream.backups.archive import ArchiveWriter
from tsync_stream.backups.manifest import Manifest
from tsync_stream.cli.console_script import console_script
from tsync_stream.cli.declaring import DECLARED, SECTIONS
from tsync_stream.core import __version__

ROOT = Path(__file__).parents[3]
TSYNC = [sys.executable, "-m", "tsync_stream"]
BARE = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
NOBODY = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100"
FAUSTS_OWN = {"agents", "clean-versions", "completion", "livecheck", "model", "models", "reset", "send", "tables"}
SHELLS = ("bash", "zsh", "fish")
_BOUND_S = 200.0

_WHAT_FAUST_HAS = """
import json, tsync_stream
from faust.cli.faust import cli
tsync_stream.app
print(json.dumps({name: [parameter.name for parameter in command.params] for name, command in cli.commands.items()}))
"""
_WHAT_IS_LOADED = """
import sys
from tsync_stream.__main__ import main
sys.argv[1:] = {arguments!r}
try:
    main()
except SystemExit as ending:
    print(sorted({{name.partition(".")[0] for name in sys.modules}}), file=sys.stderr)
    print(ending.code, file=sys.stderr)
"""
_WHAT_COMMANDS_SAY = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from tsync_stream.__main__ import main
said = {{}}
for arguments in {commands!r}:
    sys.argv[1:] = arguments
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as ending:
            code = ending.code
    texts = [each.buffer.getvalue().decode() for each in (out, err)]
    said[arguments[0]] = [code, *texts, sorted({{name.partition(".")[0] for name in sys.modules}})]
print(json.dumps(said))
"""


def run(*command: str, directory: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**BARE, **environment},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=_BOUND_S,
        check=False,
    )


# ---- which commands there are ----


def test_the_help_lists_every_command_once_under_a_heading(tmp_path: Path) -> None:
    done = run(*TSYNC, "--help", directory=tmp_path, BATCH_SIZE="many")
    assert (done.returncode, done.stderr) == (0, "")
    listed = re.findall(r"^  ([a-z][a-z-]*)  ", done.stdout, flags=re.MULTILINE)
    assert sorted(listed) == sorted([*DECLARED, "worker"])
    headings = re.findall(r"^(\S.*):$", done.stdout, flags=re.MULTILINE)
    assert headings == ["Options", *SECTIONS]
    assert "..." not in done.stdout.partition("Run:")[2], "each line says all of it"


def test_every_command_has_a_heading_that_exists() -> None:
    assert [name for name, command in DECLARED.items() if command.section not in SECTIONS] == []


def test_every_command_but_the_worker_takes_json() -> None:
    without = [name for name, command in DECLARED.items() if "as_json" not in {each.name for each in command.params}]
    assert without == []


def test_faust_has_the_same_commands_with_the_same_options() -> None:
    done = run(sys.executable, "-c", _WHAT_FAUST_HAS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {*DECLARED, "worker", *FAUSTS_OWN}
    assert {name: found[name] for name in DECLARED} == {
        name: [each.name for each in command.params] for name, command in DECLARED.items()
    }


def test_none_of_fausts_own_commands_is_there() -> None:
    assert console_script().commands.keys() == {*DECLARED, "worker"}


@pytest.mark.parametrize("name", [*DECLARED, "worker"])
def test_every_command_has_help(name: str) -> None:
    shown = click.testing.CliRunner().invoke(
        console_script(), [name, "--help"], prog_name="tsync", env={"BATCH_SIZE": "many"}
    )
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith(f"Usage: tsync {name} ")
    assert "console-port" not in shown.output


def test_both_names_of_the_script_are_installed_by_the_package() -> None:
    scripts = (ROOT / "pyproject.toml").read_text().partition("[project.scripts]")[2].partition("\n[")[0]
    assert set(re.findall(r'^(\S+) = "tsync_stream.__main__:main"', scripts, flags=re.MULTILINE)) == {
        "tsync",
        "tsync-stream",
    }


# ---- what the documents show ----

PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])]
_SHOWN = re.compile(r"`tsync ([^`\n]+)`|^(?:\$ )?tsync ([^\n#|]+)", re.MULTILINE)


def shown_commands(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(inline or line).strip() for inline, line in _SHOWN.findall(text)]


def test_the_documents_show_commands() -> None:
    assert {"check", "verify --repair --wait"} <= {*shown_commands("README.md")}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_document_shows_is_a_command_with_such_options(page: str) -> None:
    group = console_script()
    for shown in shown_commands(page):
        if set(shown) & {"[", "…"} or shown.isupper():  # a synopsis
            continue
        name, *arguments = shlex.split(shown)
        if name == "--version":
            continue
        command = group.commands[name]
        if name != "worker":
            command.make_context(name, arguments, resilient_parsing=False)


# ---- the start ----


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["status", "--help"], ["nonsense"]])
def test_what_needs_no_server_loads_neither_faust_nor_a_driver(arguments: list[str]) -> None:
    done = run(sys.executable, "-c", _WHAT_IS_LOADED.format(arguments=arguments))
    loaded = set(json.loads(done.stderr.splitlines()[-2].replace("'", '"')))
    assert "click" in loaded
    assert (
        loaded & {"faust", "mode", "aiohttp", "pymongo", "motor", "redis", "httpx", "rich", "pydantic", "bson"} == set()
    )


def test_the_version_is_the_packages() -> None:
    assert run(*TSYNC, "--version", BATCH_SIZE="many").stdout == f"tsync-stream, version {__version__}\n"


# ---- exit codes ----


@pytest.mark.parametrize("arguments", [[], ["stauts"], ["status", "--nonsense"], ["replay"], ["dead-letters", "show"]])
def test_wrong_usage_ends_with_2(arguments: list[str], tmp_path: Path) -> None:
    done = run(*TSYNC, *arguments, directory=tmp_path, MONGODB_URI=NOBODY)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr


# These say of each server what they could not see.
EXPLAINS = {"check", "plan", "explain"}
ASKS_NOBODY = {"keys"}
NEEDS = {"replay": ["--all"], "backup": ["--to", "."], "restore": ["a-backup.zip"]}


def empty_backup(path: Path) -> None:
    made_at = datetime(2026, 1, 1, tzinfo=UTC)
    with ArchiveWriter(path) as writer:
        writer.finish(Manifest(made_at, __version__, "0a1b2c3d", "tsync", (), 0, None, ()))


NEED_MONGODB = sorted(DECLARED.keys() - EXPLAINS - ASKS_NOBODY)


@pytest.fixture(scope="module")
def without_mongodb(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each command says, its exit code, and what is loaded by then. One process runs all: its start takes long."""
    directory = tmp_path_factory.mktemp("without_mongodb")
    empty_backup(directory / "a-backup.zip")
    code = _WHAT_COMMANDS_SAY.format(commands=[[name, *NEEDS.get(name, []), "--json"] for name in NEED_MONGODB])
    done = run(sys.executable, "-c", code, directory=directory, MONGODB_URI=NOBODY, PYTHONPATH=str(ROOT))
    assert (done.returncode, done.stderr) == (0, "")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("name", NEED_MONGODB)
def test_without_mongodb_a_command_ends_with_1_and_a_sentence_and_never_loads_faust(
    name: str, without_mongodb: dict[str, Any]
) -> None:
    code, out, err, loaded = without_mongodb[name]
    assert (out, code) == ("", 1)
    assert "`tsync check` says what is wrong" in err
    assert "Traceback" not in err
    assert "pymongo" in loaded
    assert set(loaded) & {"faust", "mode"} == set()


def test_a_key_is_derived_without_a_server_and_no_value_is_shown(tmp_path: Path) -> None:
    file = "routes: {a: {source: a.b, target: c}}\nsearch_keys: {web: {value: '${WEB_KEY}', collections: [c]}}\n"
    (tmp_path / "tsync.yaml").write_text(file)

    def keys(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return run(*TSYNC, "keys", *arguments, directory=tmp_path, MONGODB_URI=NOBODY, **environ)

    value = "a-value-of-the-test"
    derived = keys("web", WEB_KEY=value)
    assert derived.returncode == 0
    assert base64.b64decode(derived.stdout)[44:] == b"a-va{}"
    listed = keys(WEB_KEY=value)
    assert listed.stdout == "web: searches c; its value is in ${WEB_KEY}\n"
    for refused, code in ((keys("web"), 1), (keys("web", WEB_KEY="short"), 1), (keys("nothing", WEB_KEY=value), 2)):
        assert (refused.returncode, refused.stdout) == (code, "")
        assert "short" not in refused.stderr
        assert "Traceback" not in refused.stderr


def test_wrong_settings_end_with_2(tmp_path: Path) -> None:
    done = run(*TSYNC, "status", directory=tmp_path, BATCH_SIZE="many")
    assert (done.returncode, done.stdout) == (2, "")
    assert "BATCH_SIZE='many' is not valid" in done.stderr


def test_an_interruption_ends_with_130(tmp_path: Path) -> None:
    command = [*TSYNC, "status", "--watch", "0.1"]
    environment = {**BARE, "MONGODB_URI": NOBODY, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stderr is not None
        assert "MongoDB" in watching.stderr.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130
        assert "Traceback" not in watching.stderr.read()


# ---- terminals ----

_RED = "from rich.text import Text; from tsync_stream.cli.shared import console; console().print(Text('x', 'red'))"


def on_a_terminal(*command: str, **environment: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    environment = {**BARE, "TERM": "xterm-256color", **environment}
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError:
            pass  # Linux reports the end of the other side like this
        process.wait(60)
    os.close(ours)
    return written.decode()


def test_a_terminal_gets_colours_unless_it_wants_none() -> None:
    assert "\x1b[31m" in on_a_terminal(sys.executable, "-c", _RED)
    assert "\x1b[3" not in on_a_terminal(sys.executable, "-c", _RED, NO_COLOR="1")
    assert run(sys.executable, "-c", _RED).stdout == "x\n"


# ---- completion ----


def completed(shell: str, line: str, directory: Path, **environment: str) -> list[str]:
    """What click offers a shell for the last word of a line."""
    words = line.split(" ")
    number = words[-1] if shell == "fish" else str(len(words) - 1)
    asked = {"_TSYNC_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": number}
    done = run(*TSYNC, directory=directory, PYTHONPATH=str(ROOT), **asked, **environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    if shell == "zsh":  # three lines each: the type, the value, its help
        return lines[1::3]
    return [value.partition(",")[2].partition("\t")[0] for value in lines if value]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_and_routes(shell: str, tmp_path: Path) -> None:
    (tmp_path / "tsync.yaml").write_text(
        "routes:\n  products: {source: s.p, target: p}\n  sellers: {source: s.s, target: s}\n", encoding="utf-8"
    )
    assert completed(shell, "tsync re", tmp_path) == ["reconcile", "reindex", "replay", "restore"]
    assert completed(shell, "tsync worker --web-p", tmp_path) == ["--web-port"]
    assert completed(shell, "tsync verify --route s", tmp_path) == ["sellers"]
    assert completed(shell, "tsync verify --route s", tmp_path, PARTITIONS="none") == [], "settings cannot be used"


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script_as_documented(shell: str) -> None:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    assert f"_TSYNC_COMPLETE={shell}_source tsync" in page
    done = run(*TSYNC, _TSYNC_COMPLETE=f"{shell}_source")
    assert done.returncode == 0, done.stderr
    assert f"_TSYNC_COMPLETE={shell}_complete" in done.stdout


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None, "the project's own scripts need it too"
    script = tmp_path / "script"
    script.write_text(run(*TSYNC, _TSYNC_COMPLETE="bash_source").stdout)
    tsync = tmp_path / "tsync"
    tsync.write_text(f'#!/bin/sh\nexec {sys.executable} -m tsync_stream "$@"\n')
    tsync.chmod(0o755)
    ask = f"""
        PATH={tmp_path}:$PATH; . {script}
        COMP_WORDS=(tsync dead-letters --sta); COMP_CWORD=2
        _tsync_completion tsync --sta dead-letters
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = run(bash, "-c", ask)
    assert done.stdout.split() == ["--status"], done.stderr
