"""What the routes file declares of Typesense's artefacts, in Typesense's words (pure).

Invariants: these are no part of the table of routes: changing one restarts nothing and reconciles nothing. The value of
a search key is in no `repr`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.routes.artefact_models import ArtefactsPart, CurationPart, SearchKeyPart, StopwordsPart, SynonymPart
from tsync_stream.routes.extended_json import plain
from tsync_stream.routes.file_forms import Part
from tsync_stream.routes.file_models import RoutePart

Described: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Artefacts of one kind by name, each as Typesense takes it."""

# Shorter ones can be guessed: the first four characters are part of every key that is derived.
SHORTEST_KEY = 16
LONGEST_KEY = 200
_KEY = re.compile(rf"[!-~]{{{SHORTEST_KEY},{LONGEST_KEY}}}")


@dataclass(frozen=True, slots=True)
class OfRoute:
    """What is declared of one route's collection."""

    synonyms: Described = field(default_factory=dict)
    curations: Described = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchKey:
    """A key that may search `collections`. `value` is None where its variable is not set; `origin` is as declared."""

    name: str
    collections: tuple[str, ...]
    origin: str
    value: str | None = field(default=None, repr=False)
    value_file: Path | None = None
    expires_at: int | None = None
    embed: Mapping[str, Any] = field(default_factory=dict)

    def secret(self) -> str:
        """The value. Raises `ConfigurationError` if it is not set here, or cannot be a key."""
        where = f"search key {self.name} (`{self.origin}`)"
        value = self.value
        if self.value_file is not None:
            try:
                value = self.value_file.read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"{where}: the file cannot be read ({type(error).__name__})") from None
        if value is None:
            raise ConfigurationError(f"{where}: the variable is not set here; set it in the environment or in .env")
        if (
            not SHORTEST_KEY <= len(value) <= LONGEST_KEY
            or not value.isascii()
            or not value.isprintable()
            or " " in value
        ):
            needs = f"{SHORTEST_KEY} to {LONGEST_KEY} characters of ASCII, without spaces"
            raise ConfigurationError(f"{where}: its value is not valid; it needs {needs}")
        return value


@dataclass(frozen=True, slots=True)
class DeclaredArtefacts:
    """Everything that is declared; `routes` has every route."""

    routes: Mapping[str, OfRoute] = field(default_factory=dict)
    stopwords: Described = field(default_factory=dict)
    presets: Described = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    search_keys: Mapping[str, SearchKey] = field(default_factory=dict)


def of_route(part: RoutePart) -> OfRoute:
    """What one route declares."""
    return OfRoute(
        {name: _synonym(each) for name, each in (part.synonyms or {}).items()},
        {name: _curation(each) for name, each in (part.curations or {}).items()},
    )


def of_all(
    part: ArtefactsPart, routes: Mapping[str, OfRoute], folder: Path, origins: Mapping[str, str]
) -> DeclaredArtefacts:
    """What is declared for all collections, beside what is of each route. `origins`: where each key's value is from."""
    return DeclaredArtefacts(
        routes,
        {name: _stopwords(each) for name, each in (part.stopwords or {}).items()},
        {name: plain(each) for name, each in (part.presets or {}).items()},
        dict(part.aliases or {}),
        {name: _search_key(name, each, folder, origins[name]) for name, each in (part.search_keys or {}).items()},
    )


def _synonym(given: list[str] | SynonymPart) -> Mapping[str, Any]:
    return {"synonyms": list(given)} if isinstance(given, list) else _said(given)


def _stopwords(given: list[str] | StopwordsPart) -> Mapping[str, Any]:
    return {"stopwords": list(given)} if isinstance(given, list) else _said(given)


def _curation(given: CurationPart) -> Mapping[str, Any]:
    return _said(given)


def _search_key(name: str, given: SearchKeyPart, folder: Path, origin: str) -> SearchKey:
    unset = given.value is None or given.value == origin  # the text of the file is left where a variable is not set
    return SearchKey(
        name,
        tuple(given.collections),
        origin,
        None if unset else given.value,
        None if given.value_file is None else folder / given.value_file,
        given.expires_at,
        plain(given.embed or {}),
    )


def _said(part: Part) -> Mapping[str, Any]:
    said: Mapping[str, Any] = plain(part.model_dump(by_alias=True, exclude_none=True))
    return said
