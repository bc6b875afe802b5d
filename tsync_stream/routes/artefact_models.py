"""The models of Typesense's artefacts in the routes file: synonyms, curations, presets and what else there is.

As in `file_models`, a model checks one value at a time; `artefact_checks` has what several say together. The words are
Typesense's own, so that its documentation explains them.
"""

from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Tag

from tsync_stream.routes.file_forms import Flag, Needs, Part, Target

MAX_ITEMS = 5_000
LONGEST_NAME = 200
_POSITIVE = {"minimum": 1}
MATCHES = ("exact", "contains")


def name_reason(text: str) -> str:
    """Why this cannot be the name of an artefact; "" if it can."""
    if not text or len(text) > LONGEST_NAME or text != text.strip() or not text.isprintable():
        return "?"
    return "Typesense would read it as a folder" if not text.strip(".") else ""


def _word(text: str) -> str:
    return "" if text.strip() and len(text) <= 1_000 else "?"


def _most(given: dict[str, Any]) -> str:
    return f"at most {MAX_ITEMS:,}" if len(given) > MAX_ITEMS else ""


def _symbols(given: list[Any]) -> str:
    return "" if all(isinstance(each, str) and len(each.encode()) == 1 for each in given) else "?"


def _match(text: str) -> str:
    return "" if text in MATCHES else "?"


def _scalars(given: dict[str, Any]) -> str:
    return "" if all(isinstance(each, str | int | float) for each in given.values()) else "?"


Name: TypeAlias = Annotated[
    str, Needs(f"a name of 1 to {LONGEST_NAME} characters on one line", "coats", reason=name_reason)
]
Text: TypeAlias = Annotated[str, Needs("a text", "coat", reason=_word)]
Words: TypeAlias = Annotated[
    list[Text], Needs("a list of texts", ["coat", "jacket"], list, lambda given: "" if given else "?", {"minItems": 1})
]
Locale: TypeAlias = Annotated[
    str, Needs("the code of a language", "de", reason=lambda text: "" if text.isalpha() and len(text) <= 5 else "?")
]
Moment: TypeAlias = Annotated[
    int,
    Needs(
        "a moment in seconds since 1970",
        1767225600,
        int,
        lambda given: "" if given > 0 else "?",
        {"exclusiveMinimum": 0},
    ),
]


def _kind_of_words(value: Any) -> str:
    return "list" if isinstance(value, list) else "mapping"


class SynonymPart(Part):
    """A synonym with more than its words."""

    synonyms: Words
    """The words that are found as well."""
    root: Text | None = None
    """The one word whose search finds the others; left out: each finds all."""
    locale: Locale | None = None
    """The language by whose rules the words are taken apart."""
    symbols_to_index: Annotated[
        list[str] | None, Needs("a list of single characters", ["+"], list, _symbols, {"items": {"maxLength": 1}})
    ] = None
    """Special characters that count as letters in the words."""


Synonym: TypeAlias = Annotated[
    Annotated[Words, Tag("list")] | Annotated[SynonymPart, Tag("mapping")], Discriminator(_kind_of_words)
]
Synonyms: TypeAlias = Annotated[
    dict[Name, Synonym],
    Needs(
        "synonyms by name",
        {"coats": ["coat", "jacket", "parka"], "phones": {"root": "phone", "synonyms": ["iphone", "android"]}},
        dict,
        _most,
        {"maxProperties": MAX_ITEMS},
    ),
]


class RulePart(Part):
    """Which searches a curation is for: a `query` with its `match`, a `filter_by`, or `tags`."""

    query: Text | None = None
    """The words that are searched."""
    match: Annotated[
        str | None,
        Needs(
            "`exact` or `contains`",
            "exact",
            reason=lambda text: "" if text in MATCHES else "?",
            schema={"enum": list(MATCHES)},
        ),
    ] = None
    """Whether they are all of the search (`exact`) or part of it (`contains`)."""
    filter_by: Text | None = None
    """The filter of the search."""
    tags: Words | None = None
    """Tags that the search names in `curation_tags` (before 30: `override_tags`)."""
    stem: Flag | None = None
    """Whether other forms of the words match, too. From Typesense 30.2 on."""
    synonyms: Flag | None = None
    """Whether synonyms of the words match, too. From Typesense 30.2 on."""


class IncludePart(Part):
    """A document that is shown."""

    id: Text
    """Its id in Typesense."""
    position: Annotated[int, Needs("a position from 1 on", 1, int, lambda given: "" if given > 0 else "?", _POSITIVE)]
    """Where it is shown."""


class ExcludePart(Part):
    """A document that is hidden."""

    id: Text
    """Its id in Typesense."""


_RULE = Needs("which searches it is for", {"query": "apple", "match": "exact"}, dict)
_INCLUDES = Needs("a list of documents", [{"id": "422", "position": 1}], list)
_EXCLUDES = Needs("a list of documents", [{"id": "287"}], list)
_OBJECT = Needs("a mapping", {"campaign": "summer"}, dict)


class CurationPart(Part):
    """What some searches find, otherwise than Typesense would rank it."""

    rule: Annotated[RulePart, _RULE]
    """Which searches it is for."""
    includes: Annotated[list[IncludePart] | None, _INCLUDES] = None
    """Documents to show at fixed positions."""
    excludes: Annotated[list[ExcludePart] | None, _EXCLUDES] = None
    """Documents to hide."""
    filter_by: Text | None = None
    """A filter for the search."""
    sort_by: Text | None = None
    """The order of the results."""
    replace_query: Text | None = None
    """What is searched instead."""
    remove_matched_tokens: Flag | None = None
    """Whether the words of the rule are taken out of the search."""
    filter_curated_hits: Flag | None = None
    """Whether the filter of the search also holds for `includes`."""
    stop_processing: Flag | None = None
    """Whether no other curation is looked at after this one."""
    effective_from_ts: Moment | None = None
    """From when it takes effect, in seconds since 1970."""
    effective_to_ts: Moment | None = None
    """Until when it takes effect, in seconds since 1970."""
    metadata: Annotated[dict[str, Any] | None, _OBJECT] = None
    """What the answer of a search says besides. From Typesense 26 on."""
    diversity: Annotated[dict[str, Any] | None, _OBJECT] = None
    """How results are made diverse, in Typesense's words. From Typesense 30 on."""


Curations: TypeAlias = Annotated[
    dict[Name, CurationPart],
    Needs(
        "curations by name",
        {"apple": {"rule": {"query": "apple", "match": "exact"}, "includes": [{"id": "422", "position": 1}]}},
        dict,
        _most,
        {"maxProperties": MAX_ITEMS},
    ),
]


class StopwordsPart(Part):
    """Stopwords of one language."""

    stopwords: Words
    """The words that a search leaves out."""
    locale: Locale | None = None
    """Their language."""


Stopwords: TypeAlias = Annotated[
    Annotated[Words, Tag("list")] | Annotated[StopwordsPart, Tag("mapping")], Discriminator(_kind_of_words)
]


class SearchKeyPart(Part):
    """A key that may search some collections and nothing else, and what is embedded into the key derived of it."""

    collections: Annotated[
        list[Target], Needs("a list of collections or aliases", ["products"], list, lambda given: "" if given else "?")
    ]
    """The collections, or aliases, that it may search, by the names that searches use."""
    value: Annotated[str | None, Needs("a variable that holds the key", "${SEARCH_KEY}")] = None
    """The key: a variable, as `${SEARCH_KEY}`. Only `apply` and `keys` need it to be set."""
    value_file: Annotated[str | None, Needs("the path of a file that holds the key", "/run/secrets/search_key")] = None
    """A file that holds the key, instead of `value`; the path counts from the folder of this file."""
    expires_at: Moment | None = None
    """Until when it is valid, in seconds since 1970. Left out: until it is removed."""
    embed: Annotated[
        dict[str, Any] | None,
        Needs("parameters of a search", {"filter_by": "status:=published", "limit_hits": 100}, dict, _scalars),
    ] = None
    """Parameters that every search with the derived key has, whatever it asks for: a filter, `expires_at`, ..."""


class ArtefactsPart(Part):
    """What Typesense keeps for all collections. `apply` makes, replaces and removes it."""

    stopwords: Annotated[
        dict[Name, Stopwords] | None, Needs("sets of stopwords by name", {"common": ["a", "the"]}, dict, _most)
    ] = None
    """Sets of words that searches leave out. From Typesense 26 on."""
    presets: Annotated[
        dict[Name, Annotated[dict[str, Any], _OBJECT]] | None,
        Needs("parameters of searches by name", {"storefront": {"query_by": "title", "per_page": 24}}, dict, _most),
    ] = None
    """Parameters of searches under a name, or whole searches in `searches`."""
    aliases: Annotated[
        dict[Target, Target] | None, Needs("pairs of an alias and what it shows", {"shop": "products"}, dict, _most)
    ] = None
    """Further names: an alias, and the target of a route, whose collection it follows, or another collection."""
    search_keys: Annotated[
        dict[Name, SearchKeyPart] | None,
        Needs("search keys by name", {"web": {"value": "${SEARCH_KEY}", "collections": ["products"]}}, dict, _most),
    ] = None
    """API keys that may only search, by name."""
