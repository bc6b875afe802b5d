"""Which updates can change what a route shows, judged by the names of the changed paths (pure).

Invariant: in doubt an update is relevant. A path inside a field that the view depends on is relevant, and so is one
around it; positions in arrays do not count. MongoDB writes a field that is really called `a.b` like a field `b` inside
`a`, which can only make more updates relevant: of fields that are left out, only whole ones at the top level count.
Inserts, replaces and deletes are always relevant.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tsync_stream.routes.declaration import Children, Declaration, Parent

_LOGICAL = frozenset({"$and", "$or", "$nor"})
KEY = "_id"


class Relevance:
    """What one view depends on. `paths` None: on every path but the fields `hidden` at the top level."""

    def __init__(self, paths: Iterable[str] | None, hidden: Iterable[str] = ()) -> None:
        self._paths = None if paths is None else {_names(path) for path in paths}
        self._hidden = frozenset(hidden)

    def __repr__(self) -> str:
        paths = "everything" if self._paths is None else ", ".join(sorted(".".join(path) for path in self._paths))
        return f"Relevance({paths}{' but ' if self._hidden else ''}{', '.join(sorted(self._hidden))})"

    @property
    def may_be_irrelevant(self) -> bool:
        """Whether there are updates that do not matter: only then are the names of changed paths worth knowing."""
        return self._paths is not None or bool(self._hidden)

    def touched_by(self, changed: Sequence[str] | None) -> bool:
        """Whether an update of these paths may change the view; None: which paths, is not known."""
        if not changed:
            return True
        if self._paths is None:
            return not self._hidden.issuperset(changed)
        return any(self._concerns(_names(path)) for path in changed)

    def _concerns(self, changed: tuple[str, ...]) -> bool:
        assert self._paths is not None
        return any(changed[: len(path)] == path[: len(changed)] for path in self._paths)


def relevance_of(declaration: Declaration) -> Relevance:
    """What a route's view depends on, as far as documents of its source are concerned."""
    hidden = [name for name in declaration.exclude if "." not in name]
    read = _read_by_programs(declaration)
    filtered = filter_paths(declaration.filter)
    if read is None or filtered is None:
        return Relevance(None)
    locals_ = [lookup.local for lookup in declaration.lookups if isinstance(lookup, Parent)]
    needed = [*read, *filtered, *locals_]
    if declaration.fields is None:
        return Relevance(None, (name for name in hidden if not any(_is_or_below(path, name) for path in needed)))
    return Relevance([*needed, *declaration.fields])


def relevance_of_parent(lookup: Parent) -> Relevance:
    """What a lookup depends on in the documents that it finds by their `_id`."""
    return Relevance(lookup.fields or None)


def relevance_of_children(lookup: Children) -> Relevance:
    """What a lookup depends on in the children: what is shown of them, and whose they are."""
    if not lookup.summary:
        return Relevance([lookup.foreign, *lookup.fields] if lookup.fields else None)
    summarized = (field for names in lookup.summary.values() if isinstance(names, Mapping) for field in names)
    return Relevance([lookup.foreign, *summarized])


def filter_paths(query: Mapping[str, Any]) -> list[str] | None:
    """The paths that a query reads; None if it may read any."""
    found: list[str] = []
    for name, value in query.items():
        if name in _LOGICAL:
            inner = [filter_paths(each) for each in value]
            if None in inner:
                return None
            found += [path for paths in inner for path in paths or ()]
        elif name.startswith("$"):
            return None  # an expression, a schema
        elif name != KEY:
            found.append(name)
    return found


def _read_by_programs(declaration: Declaration) -> Sequence[str] | None:
    """What pipeline and transform read; None if they may read anything."""
    if not declaration.pipeline and not declaration.transform:
        return []
    return declaration.depends_on


def _names(path: str) -> tuple[str, ...]:
    """The names on a path. Positions in arrays are left out, and so is a name that looks like one."""
    return tuple(name for name in path.split(".") if not (name.isascii() and name.isdigit()))


def _is_or_below(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")
