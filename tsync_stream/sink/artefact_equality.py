"""When an artefact is as it should be (pure).

Typesense describes what it keeps in its own words: it adds defaults, and leaves out what is empty. Two descriptions say
the same if their normal forms are equal.

Invariant: a normal form holds what has an effect, however it was written.
"""

import hashlib
import unicodedata
from collections.abc import Mapping
from typing import Any

import orjson

# What a curation does where it says nothing (curation_t in Typesense's sources).
_OF_CURATIONS: Mapping[str, Any] = {"filter_curated_hits": False, "stop_processing": True}
DIGEST_DIGITS = 16


def same_item(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two synonyms, or two curations, do the same. Their ids are not compared."""
    return normal_item(one) == normal_item(other)


def normal_item(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """A synonym or a curation without its id, defaults filled in and empty parts left out."""
    said: dict[str, Any] = _said({name: value for name, value in item.items() if name != "id"})
    if "rule" not in item:
        return said
    filled = {**_OF_CURATIONS, "remove_matched_tokens": bool(said.get("filter_by")), **said}
    tags = filled.get("rule", {}).get("tags")
    if isinstance(tags, list):  # kept as a set
        filled["rule"] = {**filled["rule"], "tags": sorted(map(str, tags))}
    return filled


def normal_stopwords(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A set of stopwords: Typesense keeps single words, in lower case and without accents."""
    words = [word for text in given.get("stopwords", ()) for word in _plain(str(text)).split()]
    return {"stopwords": sorted(set(words)), **({"locale": given["locale"]} if given.get("locale") else {})}


def digest(description: Any) -> str:
    """A short digest of a description; the order of keys does not count."""
    text = orjson.dumps(description, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:DIGEST_DIGITS]


def _said(value: Any) -> Any:
    """Without what is empty, at every depth but inside lists of texts."""
    if isinstance(value, Mapping):
        parts = {name: _said(each) for name, each in value.items()}
        return {name: each for name, each in parts.items() if each not in ("", None, [], {})}
    if isinstance(value, list | tuple):
        return [_said(each) for each in value]
    return value


def _plain(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text.lower())
    return "".join(character for character in parts if not unicodedata.combining(character))
