"""docs/commands.md describes every command with every option, and no command that does not exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/commands.md").read_text(encoding="utf-8")

# In a process of its own: Faust registers commands once and for all.
_LIST_COMMANDS = """
import json
from faust.cli.base import cli
from tsync_stream.app import TsyncApp
from tsync_stream.settings.load import default_settings
TsyncApp(default_settings())
names = {command.name: [option.opts[0] for option in command.params if option.param_type_name == "option"]
         for command in cli.commands.values() if command.name != "worker"}
print(json.dumps(names))
"""


@pytest.fixture(name="commands", scope="module")
def commands_fixture() -> dict[str, list[str]]:
    """The options of each command; `worker` has Faust's own."""
    listing = [sys.executable, "-c", _LIST_COMMANDS]
    ended = subprocess.run(listing, capture_output=True, text=True, check=True, timeout=200, cwd=ROOT)
    commands: dict[str, list[str]] = json.loads(ended.stdout)
    return commands


def sections() -> dict[str, str]:
    """What the page says under each heading of the second level."""
    _, *parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_command_has_its_section_and_every_section_its_command(commands: dict[str, list[str]]) -> None:
    assert sorted(sections()) == sorted(commands)


def test_a_section_names_every_option(commands: dict[str, list[str]]) -> None:
    missing = [
        (name, option) for name, options in commands.items() for option in options if option not in sections()[name]
    ]

    assert missing == []
