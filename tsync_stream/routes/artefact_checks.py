"""What the parts of an artefact say together, and what artefacts say together (pure).

Invariant: messages quote keys alone. A value may come from a variable, and that of a search key is a secret.
"""

from collections.abc import Iterator, Mapping

from tsync_stream.routes.artefact_models import ArtefactsPart, CurationPart, RulePart, SearchKeyPart
from tsync_stream.routes.file_models import RoutePart
from tsync_stream.routes.problems import Place
from tsync_stream.settings.routes_file import VARIABLE
from tsync_stream.sink.markers import SYNONYM

Found = Iterator[tuple[Place, str]]

EFFECTS = (
    "includes",
    "excludes",
    "filter_by",
    "sort_by",
    "replace_query",
    "remove_matched_tokens",
    "metadata",
    "diversity",
)


def item_problems(route: RoutePart, place: Place) -> Found:
    """What is wrong with the synonyms and curations of one route."""
    for name, synonym in (route.synonyms or {}).items():
        here = (*place, "synonyms", name)
        if name == SYNONYM:
            yield here, "this name is our own: it marks the collection; choose another"
        elif isinstance(synonym, list) and len(synonym) < 2:
            yield here, "a synonym needs at least two words, or `root` and one of `synonyms`"
        elif not isinstance(synonym, list) and synonym.root is None and len(synonym.synonyms) < 2:
            yield (*here, "synonyms"), "a synonym needs at least two words, or a `root`"
    for name, curation in (route.curations or {}).items():
        yield from _curation_problems(curation, (*place, "curations", name))


def _curation_problems(curation: CurationPart, place: Place) -> Found:
    yield from _rule_problems(curation.rule, (*place, "rule"))
    if all(getattr(curation, name) is None for name in EFFECTS):
        yield place, f"a curation needs at least one of {', '.join(EFFECTS)}"
    if curation.replace_query is not None and curation.remove_matched_tokens:
        yield (*place, "replace_query"), "a curation has `replace_query` or `remove_matched_tokens`, not both"
    begins, ends = curation.effective_from_ts, curation.effective_to_ts
    if begins is not None and ends is not None and ends <= begins:
        yield (*place, "effective_to_ts"), "it ends before it begins"


def _rule_problems(rule: RulePart, place: Place) -> Found:
    if (rule.query is None) != (rule.match is None):
        yield place, "`query` and `match` belong together"
    elif rule.query is None and rule.filter_by is None and rule.tags is None:
        yield place, "a rule needs `query` and `match`, or `filter_by`, or `tags`"


def artefact_problems(part: ArtefactsPart, targets: Mapping[str, str], written: Mapping[Place, str]) -> Found:
    """What is wrong with artefacts of all collections. `targets`: the routes by their targets; `written`: the file."""
    aliases = part.aliases or {}
    for alias, shown in aliases.items():
        here: Place = ("aliases", alias)
        if alias in targets:
            yield here, f"this is the target of route {targets[alias]}, which keeps its alias itself"
        elif shown in aliases:
            yield here, "an alias shows a collection, and no other alias"
    origins: dict[str, str] = {}
    for name, key in (part.search_keys or {}).items():
        here = ("search_keys", name)
        yield from _key_problems(key, here, written)
        origin = origin_of(name, written)
        if origin and (other := origins.get(origin)):
            yield here, f"search key {other} has the same value: Typesense takes a value once"
        origins.setdefault(origin, name)


def origin_of(name: str, written: Mapping[Place, str]) -> str:
    """How the file names the value of a search key."""
    here: Place = ("search_keys", name)
    return written.get((*here, "value")) or written.get((*here, "value_file")) or ""


def _key_problems(key: SearchKeyPart, place: Place, written: Mapping[Place, str]) -> Found:
    if (key.value is None) == (key.value_file is None):
        yield place, "a search key needs `value` or `value_file`, and not both"
    elif key.value is not None and VARIABLE.fullmatch(written.get((*place, "value"), "")) is None:
        text = "a secret does not belong into this file: name a variable, as `${SEARCH_KEY}`, or use `value_file`"
        yield (*place, "value"), text
    expires = (key.embed or {}).get("expires_at")
    if expires is not None and (isinstance(expires, bool) or not isinstance(expires, int) or expires < 0):
        yield (*place, "embed", "expires_at"), "`expires_at` needs a moment in seconds since 1970"
