"""What the parts of a route say together, and what routes say together: each part is valid by itself (pure).

Invariant: messages quote keys alone. A value may come from a variable, so not even a likely one is suggested.
"""

from collections.abc import Iterable, Iterator, Mapping

from tsync_stream.routes.file_models import ChildrenPart, LookupPart, ParentPart, RoutePart, SummaryPart
from tsync_stream.routes.problems import Place

Found = Iterator[tuple[Place, str]]

RESERVED_TARGETS = frozenset({"tsync_stream_markers"})
NESTED = "what a document shows would depend on a chain of others. Keep the key in the source's document"
CALCULATIONS = ("avg", "sum", "min", "max")


def route_problems(route: RoutePart, place: Place) -> Found:
    """What does not fit together in one route, with the place of each problem."""
    if route.fields is not None and route.exclude is not None:
        yield (*place, "exclude"), "a route has `fields` or `exclude`, not both: `fields` alone says what is shown"
    if route.depends_on is not None and not (route.pipeline or route.transform):
        yield (*place, "depends_on"), "`depends_on` is about `pipeline` and `transform`, and there is neither"
    yield from _lookup_problems(route.lookups or [], route, (*place, "lookups"))
    yield from _rename_problems(route, (*place, "rename"))
    yield from _type_problems(route, (*place, "types"))


def table_problems(routes: Mapping[str, RoutePart], state_database: str | None) -> Found:
    """What does not fit together among the routes; `state_database` is None if it is not known."""
    targets: dict[str, str] = {}
    for name, route in routes.items():
        place: Place = ("routes", name)
        if other := targets.get(route.target):
            yield (*place, "target"), f"route {other} has the same target: each route needs a target of its own"
        elif route.target in RESERVED_TARGETS:
            yield (*place, "target"), "this collection is our own: the marks of the others are kept in it"
        else:
            targets[route.target] = name
        database = route.source.partition(".")[0]
        if state_database is not None and database.lower() == state_database.lower():
            yield (*place, "source"), "this database holds our own state: set another STATE_DATABASE"


# ---- lookups ----


def shown_names(lookup: LookupPart) -> list[tuple[Place, str]]:
    """The names under which a lookup shows what it finds, each with its place in the lookup."""
    if isinstance(lookup, ChildrenPart) and lookup.summary is not None:
        return list(_summary_names(lookup.summary))
    return [(("as",), lookup.as_)]


def _summary_names(summary: SummaryPart) -> Iterator[tuple[Place, str]]:
    if summary.count is not None:
        yield ("summary", "count"), summary.count
    for calculation in CALCULATIONS:
        for field, name in (getattr(summary, calculation) or {}).items():
            yield ("summary", calculation, field), name


def _lookup_problems(lookups: list[LookupPart], route: RoutePart, place: Place) -> Found:
    filtered = {_top(name) for name in route.filter or {} if not name.startswith("$")}
    taken: dict[str, int] = {}
    for at, lookup in enumerate(lookups):
        here = (*place, at)
        for part, name in shown_names(lookup):
            if name in taken:
                again = "this lookup" if taken[name] == at else f"lookups[{taken[name]}]"
                yield (*here, *part), f"{again} shows something under this name already: choose another"
            elif isinstance(lookup, ParentPart) and name == _top(lookup.local):
                yield (*here, *part), "this lookup reads its key from this field: choose another name"
            elif name in filtered:
                yield (*here, *part), "`filter` has this field of the source, and comes first: choose another name"
            taken.setdefault(name, at)
        if isinstance(lookup, ChildrenPart) and lookup.summary is not None:
            if taken.get(lookup.as_, at) != at:  # nothing is shown under it, but it tells the lookups apart
                yield (*here, "as"), f"lookups[{taken[lookup.as_]}] has this name already: choose another"
            taken.setdefault(lookup.as_, at)
            yield from _summary_problems(lookup, lookup.summary, here)
    for at, lookup in enumerate(lookups):
        if isinstance(lookup, ParentPart) and (other := taken.get(_top(lookup.local), at)) != at:
            nested = f"lookups[{other}] shows this field, and a lookup cannot begin in another one: {NESTED}"
            yield (*place, at, "local"), nested


def _summary_problems(lookup: ChildrenPart, summary: SummaryPart, place: Place) -> Found:
    if not list(_summary_names(summary)):
        yield (*place, "summary"), "it needs at least one of count, avg, sum, min, max"
    for calculation in CALCULATIONS:
        for field in getattr(summary, calculation) or {}:
            if lookup.fields is not None and not _covered(field, lookup.fields):
                unread = "this field is not among the lookup's `fields`, which are all that is read"
                yield (*place, "summary", calculation, field), unread


# ---- rename and types ----


def _rename_problems(route: RoutePart, place: Place) -> Found:
    rename = route.rename or {}
    by_new_name: dict[str, str] = {}
    kept = {name for name in _known_names(route) if name not in rename}
    tops = None if route.fields is None else {_top(path) for path in route.fields}
    for old, new in rename.items():
        here = (*place, old)
        if first := by_new_name.get(new):
            yield here, f"`{first}` gets the same name already"
        elif new in kept:
            yield here, "another field is shown under this name: choose another, or rename that one too"
        by_new_name.setdefault(new, old)
        if tops is not None and old not in tops:
            yield here, f"`{old}` is not among `fields`, so it is not shown"
        elif old in (route.exclude or []):
            yield here, f"`{old}` is in `exclude`, so it is not shown"


def _type_problems(route: RoutePart, place: Place) -> Found:
    if route.fields is None:
        return
    rename = route.rename or {}
    shown = {rename.get(_top(path), _top(path)) for path in route.fields}
    for path in route.types or {}:
        if _top(path) not in shown:
            yield (*place, path), "no field is shown under this name, after `rename`"


def _known_names(route: RoutePart) -> set[str]:
    """The names at the top level that the route is known to show, before `rename`."""
    if route.fields is not None:
        return {_top(path) for path in route.fields}
    return {name for lookup in route.lookups or [] for _, name in shown_names(lookup)}


def _covered(path: str, paths: Iterable[str]) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in paths)


def _top(path: str) -> str:
    return path.partition(".")[0]
