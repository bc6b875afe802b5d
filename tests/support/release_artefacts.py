"""Artefacts that the real 0.24.1 does not have: synonym sets and curation sets as 30 keeps them, and stopwords.

They are kept in memory, and change no search. Names in comments are those of Typesense's sources (branch v30).

Invariant: what is answered, and with which words, is what the sources say.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import orjson

from tests.support.releases import Release
from tests.support.upstream import Reply, message

KINDS = {"synonym_sets": "Synonym", "curation_sets": "Curation"}
_WORD = re.compile(r"[\W_]+")


class ReleaseArtefacts:
    """All sets of one server."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._sets: dict[str, dict[str, dict[str, dict[str, Any]]]] = {kind: {} for kind in KINDS}
        self._stopwords: dict[str, dict[str, Any]] = {}

    def answers(self, path: str) -> bool:
        """Whether a path is about them."""
        first = path.strip("/").split("/")[0]
        return (first in KINDS and self._release.has_synonym_sets) or (
            first == "stopwords" and self._release.has_stopwords
        )

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        """The answer to a request."""
        first, *names = [unquote(part) for part in path.strip("/").split("/")]
        try:
            given = orjson.loads(body) if method == "PUT" else {}
        except ValueError:
            return message(400, "Bad JSON.")
        if first == "stopwords":
            return self._about_stopwords(method, names, given)
        if not names:
            return _json([_set(name, items) for name, items in self._sets[first].items()])
        if len(names) == 1:
            return self._about_set(method, first, names[0], given)
        return self._about_item(method, first, names[0], names[2] if len(names) > 2 else "", given)

    def missing(self, references: Mapping[str, Any]) -> Reply | None:
        """What a collection is answered that refers to sets which do not exist (create_collection)."""
        for kind, called in KINDS.items():
            for name in references.get(kind, ()):
                if name not in self._sets[kind]:
                    return message(404, f"{called} set `{name}` not found.")
        return None

    # ---- synonym_index_manager.cpp, curation_index_manager.cpp ----

    def _about_set(self, method: str, kind: str, name: str, given: Any) -> Reply:
        sets = self._sets[kind]
        if method == "PUT":
            items = given.get("items") if isinstance(given, dict) else None
            if not isinstance(items, list):
                return message(400, "Missing or invalid 'items' field")
            for item in items:
                if problem := PROBLEMS[kind](item):
                    return message(400, problem)
            sets[name] = {item["id"]: SHOWN[kind](item) for item in items}
            return _json(_set(name, sets[name]))
        if name not in sets:
            return message(404, f"{KINDS[kind]} index not found")
        if method == "DELETE":
            del sets[name]
            return _json({"name": name})
        return _json(_set(name, sets[name]))

    def _about_item(self, method: str, kind: str, name: str, item_id: str, given: Any) -> Reply:
        items = self._sets[kind].get(name)
        if items is None:
            return message(404, f"{KINDS[kind]} index not found")
        if method == "PUT":
            item = {**given, "id": item_id}
            if problem := PROBLEMS[kind](item):
                return message(400, problem)
            items[item_id] = SHOWN[kind](item)
            return _json(item)
        if not item_id:
            return _json(list(items.values()))
        if item_id not in items:
            return message(404, "Could not find that `id`." if method == "DELETE" else "Not Found")
        if method == "DELETE":
            del items[item_id]
            return _json({"id": item_id})
        return _json(items[item_id])

    # ---- stopwords_manager.cpp ----

    def _about_stopwords(self, method: str, names: list[str], given: Any) -> Reply:
        if not names:
            return _json({"stopwords": list(self._stopwords.values())})
        (name,) = names
        if method == "PUT":
            if not given.get("stopwords"):
                return message(400, "Parameter `stopwords` is required")
            words = {word for text in given["stopwords"] for word in _WORD.split(text.lower()) if word}
            locale = {"locale": given["locale"]} if given.get("locale") else {}
            self._stopwords[name] = {"id": name, **locale, "stopwords": sorted(words, reverse=True)}
            return _json({**given, "id": name})
        if name not in self._stopwords:
            return message(404, f"Stopword `{name}` not found.")
        if method == "DELETE":
            del self._stopwords[name]
            return _json({"id": name})
        return _json({"stopwords": self._stopwords[name]})


def _set(name: str, items: Mapping[str, Any]) -> dict[str, Any]:
    return {"items": list(items.values()), "name": name}


def _json(value: Any) -> Reply:
    return Reply(200, orjson.dumps(value))


def _synonym_problem(item: Any) -> str:
    """synonym_t::parse"""
    if "id" not in item:
        return "Missing `id` field."
    if not isinstance(item.get("synonyms"), list) or not item["synonyms"]:
        return "Could not find an array of `synonyms`"
    return ""


def _curation_problem(item: Any) -> str:
    """curation_t::parse"""
    rule = item.get("rule")
    if not isinstance(rule, dict):
        return "Missing `rule` definition."
    if "filter_by" not in rule and "tags" not in rule and not {"query", "match"} <= rule.keys():
        return "The `rule` definition must contain either a `tags` or a `query` and `match`."
    return ""


def _shown_synonym(item: Mapping[str, Any]) -> dict[str, Any]:
    """synonym_t::to_view_json"""
    kept = {name: item[name] for name in ("locale", "symbols_to_index") if item.get(name)}
    return {"id": item["id"], "root": item.get("root", ""), "synonyms": item["synonyms"], **kept}


def _shown_curation(item: Mapping[str, Any]) -> dict[str, Any]:
    """curation_t::to_json"""
    optional = ("filter_by", "sort_by", "replace_query", "effective_from_ts", "effective_to_ts", "metadata")
    return {
        "id": item["id"],
        "rule": {name: value for name, value in item["rule"].items() if value},
        "includes": item.get("includes", []),
        "excludes": item.get("excludes", []),
        **{name: item[name] for name in optional if item.get(name)},
        "remove_matched_tokens": item.get("remove_matched_tokens", "filter_by" in item),
        "filter_curated_hits": item.get("filter_curated_hits", False),
        "stop_processing": item.get("stop_processing", True),
    }


PROBLEMS: Mapping[str, Callable[[Any], str]] = {"synonym_sets": _synonym_problem, "curation_sets": _curation_problem}
SHOWN: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "synonym_sets": _shown_synonym,
    "curation_sets": _shown_curation,
}
