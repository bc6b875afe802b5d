"""What Typesense keeps for all collections: sets of stopwords, presets, aliases, API keys.

Invariants: listing changes nothing. What Typesense says of a key is all that leaves this module: a value goes in, and
none comes out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.settings.load import TypesenseSettings
from tsync_stream.sink.artefacts import Items, checked
from tsync_stream.sink.breaker import FAILURES
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.errors import KEY_REFUSED, from_typesense
from tsync_stream.sink.http import TypesenseHttp
from tsync_stream.sink.wire import collection_path, path_segment

SEARCH = "documents:search"
# What Typesense notes for a key that does not expire (api_key_t::FAR_FUTURE_TIMESTAMP).
NEVER_EXPIRES = 64_723_363_199


@dataclass(frozen=True, slots=True)
class GlobalKind:
    """Artefacts under `/{path}`. `list_name` has them in the answer of a list, each with its name in `name`."""

    many: str
    one: str
    path: str
    list_name: str
    name: str
    since: str = ""


STOPWORDS = GlobalKind("stopwords", "set of stopwords", "stopwords", "stopwords", "id", "26")
PRESETS = GlobalKind("presets", "preset", "presets", "presets", "name")
ALIASES = GlobalKind("aliases", "alias", "aliases", "aliases", "name")
KEYS = GlobalKind("search keys", "search key", "keys", "keys", "id")


async def listed(target: TypesenseTarget, kind: GlobalKind) -> Items:
    """All of a kind, by name; keys by their number.

    Raises `ConfigurationError` if the API key lacks the right, or the release does not have such artefacts.
    """
    answer = await target.ask("GET", f"/{kind.path}")
    if answer.status == HTTPStatus.NOT_FOUND:
        since = f"; they came with Typesense {kind.since}" if kind.since else ""
        raise ConfigurationError(f"this release of Typesense has no {kind.many}{since}")
    found = checked(answer, f"the {kind.many}", f"{kind.path}:list")
    items = found.get(kind.list_name) if isinstance(found, dict) else None
    if not isinstance(items, list):
        raise DependencyUnavailable(f"Typesense: its answer about the {kind.many} has no list of them")
    return {str(item[kind.name]): item for item in items}


async def put(target: TypesenseTarget, kind: GlobalKind, name: str, described: Mapping[str, Any]) -> None:
    """Make an artefact, or replace it; not for keys."""
    answer = await target.ask("PUT", f"/{kind.path}/{path_segment(name)}", described)
    checked(answer, f"the {kind.one} `{name}`", f"{kind.path}:upsert")


async def remove(target: TypesenseTarget, kind: GlobalKind, name: str) -> None:
    """Remove an artefact; one that is gone is no error."""
    answer = await target.ask("DELETE", f"/{kind.path}/{path_segment(name)}")
    if answer.status != HTTPStatus.NOT_FOUND:
        checked(answer, f"the {kind.one} `{name}`", f"{kind.path}:delete")


async def make_key(target: TypesenseTarget, described: Mapping[str, Any], value: str) -> int:
    """Make a key that has this value; returns its number. Raises `ArtefactRefused` if another key has the value."""
    answer = await target.ask("POST", "/keys", {**described, "value": value})
    made = checked(answer, f"the key `{described['description']}`", "keys:create")
    return int(made["id"])


async def may_search(settings: TypesenseSettings, value: str, collection: str) -> bool:
    """Whether a key with this value may search a collection, which need not exist. Nothing is searched."""
    asking = TypesenseHttp(replace(settings, api_key=value))
    try:
        # Typesense looks at the key before it misses the parameters of the search.
        answer = await asking.send("GET", f"{collection_path(collection)}/documents/search")
    except FAILURES as error:
        raise from_typesense(error) from error
    finally:
        await asking.close()
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise DependencyUnavailable(f"Typesense: a search is answered with {answer.status}")
    return answer.status not in KEY_REFUSED
