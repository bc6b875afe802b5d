"""How a field that is wanted differs from one of a live collection (pure).

Typesense describes a field with every option that its release knows, most of them filled in; a schema usually says very
little. So both are compared as they would be described.

Invariant: an option is compared only if the release knows it, which its description of fields tells. Otherwise a
reindex would be wanted for it that changes nothing.
"""

from collections.abc import Collection, Mapping
from typing import Any

Field = Mapping[str, Any]

_PATTERN = ".*"
_SORTED = frozenset({"int32", "int64", "float", "bool", "geopoint", "geopoint[]", "geopolygon"})
# Every release that we support describes each field with these.
_ALWAYS = ("facet", "optional", "index", "sort", "infix", "locale")
# Described if the release knows them: since 26, 27, 28; `vec_dist` (since 26) only of vectors.
_IF_KNOWN: Mapping[str, Any] = {"stem": False, "store": True, "stem_dictionary": "", "vec_dist": "cosine"}
# Described only where they are set. The release knows them if it knows the option that came with them.
_IF_SET: Mapping[str, tuple[Any, str]] = {
    "range_index": (False, "stem"),
    "reference": ("", "stem"),
    "async_reference": (False, "stem_dictionary"),
    "token_separators": ([], "stem_dictionary"),
    "symbols_to_index": ([], "stem_dictionary"),
}
# Objects whose parts Typesense fills in: what is wanted of them is compared, and no more.
_OBJECTS = ("embed", "hnsw_params")
# Typesense hides them in what it describes.
_HIDDEN = frozenset(
    {"api_key", "access_token", "refresh_token", "client_id", "client_secret", "project_id", "service_account"}
)


def finds_fields(field: Field) -> bool:
    """Whether it is a pattern, or a field whose type the first value decides: documents add fields by it."""
    return _PATTERN in field["name"] or field["type"] in {"auto", "string*"}


def text_of(value: object) -> str:
    """A value of an option, for a message."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"`{' '.join(map(str, value))}`" if value else "none"
    return f"`{value}`"


def option_difference(option: str, live: object, wanted: object) -> str:
    """How one option differs, for a message."""
    return f"`{option}` is {text_of(live)} in the live collection, {text_of(wanted)} wanted"


def difference(wanted: Field, live: Field, *, types_alone: bool = False) -> str:
    """How a wanted field differs from the live one of its name; "" if it does not. `types_alone`: or in its type."""
    if wanted["type"] != live["type"]:
        return f"{live['type']} in the live collection, {wanted['type']} wanted"
    if types_alone:
        return ""
    for option, here, there in _compared(wanted, live):
        if not _alike(here, there):
            return option_difference(option, there, here)
    for name in _OBJECTS:
        if not _holds(live.get(name), _said(wanted, live, name)):
            return f"`{name}` is not as wanted in the live collection"
    return ""


def _compared(wanted: Field, live: Field) -> list[tuple[str, Any, Any]]:
    """Options with what is wanted and what is live."""
    defaults = _defaults(wanted)
    rows = [(name, wanted.get(name, defaults[name]), live.get(name, defaults[name])) for name in _ALWAYS]
    rows += [(name, wanted.get(name, default), live[name]) for name, default in _IF_KNOWN.items() if name in live]
    rows += [
        (name, wanted.get(name, default), live.get(name, default))
        for name, (default, known_by) in _IF_SET.items()
        if known_by in live
    ]
    if "num_dim" in wanted or not live.get("embed"):  # a model decides by itself how many it has
        rows.append(("num_dim", wanted.get("num_dim", 0), live.get("num_dim", 0)))
    return [(name, True, there) if _is_forced(wanted, name) else (name, here, there) for name, here, there in rows]


def _defaults(wanted: Field) -> Mapping[str, Any]:
    kind = wanted["type"]
    return {
        "facet": False,
        "optional": finds_fields(wanted),
        "index": True,
        "sort": kind in _SORTED and not wanted.get("num_dim") and wanted["name"] != _PATTERN,
        "infix": False,
        "locale": "",
    }


def _is_forced(wanted: Field, option: str) -> bool:
    return option == "sort" and wanted["type"] == "geopoint"


def _alike(here: Any, there: Any) -> bool:
    if isinstance(here, list) and isinstance(there, list):
        return set(here) == set(there)
    return bool(here == there)


def _said(wanted: Field, live: Field, name: str) -> Any:
    """What is wanted of an object, if the release knows it."""
    known = name in live or (name == "embed" and "stem" in live)
    return wanted.get(name) if known else None


def _holds(live: Any, wanted: Any, hidden: Collection[str] = _HIDDEN) -> bool:
    """Whether all that is wanted is in what is live; what Typesense hides cannot be compared."""
    if wanted is None:
        return True
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            _holds(live.get(name), each) for name, each in wanted.items() if name not in hidden
        )
    return bool(live == wanted)
