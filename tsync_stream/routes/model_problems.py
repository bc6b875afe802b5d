"""What Pydantic finds wrong with the routes file, in our words (pure).

Invariant: no message contains Pydantic's own, which may repeat a value; what is quoted is the text of the file.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from tsync_stream.routes.artefact_models import (
    CurationPart,
    ExcludePart,
    IncludePart,
    RulePart,
    SearchKeyPart,
    StopwordsPart,
    SynonymPart,
)
from tsync_stream.routes.file_forms import NOT_VALID, Needs
from tsync_stream.routes.file_models import ChildrenPart, ParentPart, RoutePart, RoutesPart, SummaryPart
from tsync_stream.routes.problems import Place, did_you_mean, spelled
from tsync_stream.routes.yaml_reader import is_secret

MAX_QUOTED = 60
# The models by where they are in the file; `*` is any name or position.
MODELS: Mapping[tuple[str, ...], type[BaseModel]] = {
    (): RoutesPart,
    ("routes", "*"): RoutePart,
    ("routes", "*", "lookups", "*", "summary"): SummaryPart,
    ("routes", "*", "curations", "*"): CurationPart,
    ("routes", "*", "curations", "*", "rule"): RulePart,
    ("routes", "*", "curations", "*", "includes", "*"): IncludePart,
    ("routes", "*", "curations", "*", "excludes", "*"): ExcludePart,
    ("search_keys", "*"): SearchKeyPart,
}
# Where Pydantic says which of several forms a value has, and the model of each.
TAGS: Mapping[tuple[str, ...], Mapping[str, type[BaseModel] | None]] = {
    ("routes", "*", "lookups", "*"): {"parent": ParentPart, "children": ChildrenPart},
    ("routes", "*", "synonyms", "*"): {"list": None, "mapping": SynonymPart},
    ("stopwords", "*"): {"list": None, "mapping": StopwordsPart},
}
_WHOLES: Mapping[type[BaseModel], tuple[str, str]] = {
    RoutePart: ("a route", "source: shop.products"),
    SearchKeyPart: ("a search key", "collections: [products]"),
    CurationPart: ("a curation", "rule: {query: apple, match: exact}"),
    RulePart: ("a rule", "query: apple"),
    IncludePart: ("an inclusion", '{id: "422", position: 1}'),
    ExcludePart: ("an exclusion", '{id: "287"}'),
    SynonymPart: ("a synonym", "synonyms: [coat, jacket]"),
    StopwordsPart: ("a set of stopwords", "stopwords: [a, the]"),
}
_REASONS = {
    "lookups": "a lookup is not made inside another one: whether a document changes would depend on two others at once",
    "summary": "only `children` are summarized",
    "many": "only `from` has it: children are always many",
    "from": "a lookup has `from` or `children`, not both",
    "foreign": "it belongs to `children`; `from` finds documents by their `_id`",
    "local": "it belongs to `from`; `children` are found by their `foreign`",
}


def about(error: ValidationError, written: Mapping[Place, str]) -> Iterator[tuple[Place, bool, str]]:
    """Each problem: its place, whether it is about the key there rather than the value, and what it says."""
    for found in error.errors(include_url=False, include_input=False):
        model, place, at_key = _located(found["loc"])
        yield place, at_key or found["type"] == "extra_forbidden", _text(found, model, place, written)


def _located(location: tuple[str | int, ...]) -> tuple[type[BaseModel], Place, bool]:
    """The model around a problem, its place in the file, and whether it is about the key."""
    model: type[BaseModel] = RoutesPart
    place: list[str | int] = []
    tagged = False
    for at, part in enumerate(location):
        if part == "[key]":
            return model, tuple(place), True
        if not tagged and part in (tags := TAGS.get(_pattern(place), {})):
            model, tagged = tags[str(part)] or model, True
            continue
        place.append(part)
        pattern = _pattern(place)
        if at + 1 < len(location) or pattern[-1] == "*":  # otherwise it is about the part that should be there
            model = MODELS.get(pattern, model)
    return model, tuple(place), False


def _pattern(place: Sequence[str | int]) -> tuple[str, ...]:
    """A place with `*` for what people name (routes, artefacts) and for positions in lists."""
    named = {1, 3} if place and place[0] == "routes" else {1}
    return tuple("*" if isinstance(part, int) or at in named else part for at, part in enumerate(place))


def _text(found: Mapping[str, Any], model: type[BaseModel], place: Place, written: Mapping[Place, str]) -> str:
    kind = found["type"]
    key = str(place[-1]) if place else ""
    shown = spelled(place[2:] if len(place) > 2 and place[0] == "routes" else place)
    if kind == NOT_VALID:
        context = found["ctx"]
        text = "" if is_secret(place) else written.get(place, "")
        given = f"`{shown}: {text[:MAX_QUOTED]}`" if text else f"`{shown}`"
        because = f" ({context['why']})" if context["why"] != "?" else ""
        return f"{given} is not valid{because}{_needed(context.get('needs'), context.get('example'))}"
    if kind == "missing":
        return f"`{shown}` is missing{_needed(*_needs(model, key))}"
    if kind == "extra_forbidden":
        return f"`{shown}` is not a key that is known here{_advice(model, key)}"
    name, example = _WHOLES.get(model, ("this", "source: shop.products"))
    return f"{name} must be a mapping of keys and values, for example `{example}`"


def _advice(model: type[BaseModel], key: str) -> str:
    if key in _REASONS and model in {ParentPart, ChildrenPart}:
        return f": {_REASONS[key]}"
    known = [field.alias or name for name, field in model.model_fields.items()]
    return did_you_mean(key, known) or f"; known are {', '.join(known)}"


def _needs(model: type[BaseModel], key: str) -> tuple[str, Any]:
    for name, field in model.model_fields.items():
        if (field.alias or name) == key:
            for each in field.metadata:
                if isinstance(each, Needs):
                    return each.needs, each.example
    return "", None


def _needed(needs: str | None, example: Any) -> str:
    if not needs:
        return ""
    shown = example if isinstance(example, str) else json.dumps(example)
    return f": it needs {needs}, for example `{shown}`"
