"""`keys`: the search keys that the routes file declares, and the scoped key that is derived from one of them.

Invariant: this is the one command that prints a key, and only the derived one, of the one name that it is given.
"""

from collections.abc import Sequence

import click

from tsync_stream.cli.shared import print_json
from tsync_stream.core.terminal import printable
from tsync_stream.routes.artefact_declarations import SearchKey
from tsync_stream.routes.declared import declared_artefacts
from tsync_stream.settings.load import Settings
from tsync_stream.sink.scoped_keys import scoped_key


async def run_keys(settings: Settings, *, name: str | None, as_json: bool) -> int:
    """List what is declared, or print the key of one name. Raises `ConfigurationError` if its value is not known."""
    keys = declared_artefacts(settings).search_keys
    if name is None:
        _list(list(keys.values()), as_json=as_json)
        return 0
    if name not in keys:
        there = f"there is {', '.join(keys)}" if keys else "the routes file declares none"
        raise click.UsageError(f"There is no search key {printable(name)}; {there}.")
    derived = scoped_key(keys[name].secret(), keys[name].embed)
    if as_json:
        print_json({"name": name, "key": derived})
    else:
        print(derived)
    return 0


def _list(keys: Sequence[SearchKey], *, as_json: bool) -> None:
    if as_json:
        listed = [
            {"name": key.name, "collections": list(key.collections), "embed": sorted(key.embed), "value": key.origin}
            for key in keys
        ]
        print_json({"keys": listed})
        return
    for key in keys:
        embedded = f", with {', '.join(sorted(key.embed))}" if key.embed else ""
        print(printable(f"{key.name}: searches {', '.join(key.collections)}{embedded}; its value is in {key.origin}"))
    if not keys:
        print("The routes file declares no search keys.")
