"""The plan of a mapping: for the name of every field, the converters that its type in the live schema requires.

A plan is compiled once from the live schema: a tree of nodes, one per name. It grows by the names that documents bring,
and a name is examined only when it is new. So a field costs one lookup, whatever the schema says about it.

Invariants:
- A name that Typesense would misunderstand, or that would harm the collection, is refused when it is new.
- A top-level field never has more than `MAX_NAMES_BELOW` names inside, of the live schema and those that documents
  brought since: Typesense (seen with 0.24.1) crashes beyond 16,384 names, and again at every restart.
- The names that a refused document brought are forgotten by `forget_new_names`.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tsync_stream.core.errors import DependencyUnavailable, DocumentRejected
from tsync_stream.sink.converting import tables
from tsync_stream.sink.names import MAX_NAME_BYTES, problem_anywhere, problem_at_the_top
from tsync_stream.sink.values import Converters, DateUnit, RefusedError, path_text

MAX_NAMES_BELOW = 4_000
MAX_NEW_NAMES = 20_000
"""How many names beyond the live schema are remembered. Typesense is very slow long before that."""

_CATCH_ALL = ".*"


@dataclass(frozen=True, slots=True)
class MappingOptions:
    """The choices about the mapping. They are part of the fingerprint: a change needs a reconcile."""

    date_unit: DateUnit = "s"
    """The unit of every date: whole seconds (rounded down) or milliseconds since 1970, UTC."""


@dataclass(frozen=True, slots=True)
class FieldType:
    """What a schema says about a field: its type, and whether it can be searched."""

    name: str = ""
    indexed: bool = True


@dataclass(slots=True)
class _Names:
    """How many names a top-level field has inside."""

    count: int = 0


class Node:
    """A field and how its values are converted; `children` are the fields inside it, by their own names."""

    __slots__ = ("_plan", "children", "convert", "indexed", "kind", "many", "names", "path", "within_one")

    def __init__(
        self,
        plan: "Plan",
        path: str,
        kind: str,
        convert: Converters,
        names: _Names,
        *,
        indexed: bool,
        within_one: bool,
    ) -> None:
        self._plan = plan
        self.path = path
        self.kind = kind
        self.convert = convert
        self.names = names
        self.indexed = indexed
        # Whether the objects around it are known to be one each. Below an array of objects, Typesense gathers the
        # values by itself.
        self.within_one = within_one
        self.many = within_one and kind.endswith("[]")
        self.children: dict[str, Node] = {}

    @property
    def first(self) -> str:
        """The top-level field that it belongs to, as Typesense sees it: dots in a name are levels too."""
        return self.path.partition(".")[0]

    @property
    def is_counted(self) -> bool:
        """Whether it counts among the names inside a top-level field."""
        return self.indexed and "." in self.path

    def new_child(self, name: str) -> "Node":
        """Add and return the node of a name that is not among the children yet.

        Raises `RefusedError` for a name that cannot be used, `DocumentRejected` if there are too many.
        """
        return self._plan.grow(self, name)


class Plan:
    """The mapping of one collection's documents. `live` is Typesense's answer to `GET /collections/{name}`.

    `collection` is the collection's own name, even if `live` is the answer about an alias.
    """

    def __init__(self, options: MappingOptions, live: Mapping[str, Any] = MappingProxyType({"fields": []})) -> None:
        fields = dict(_fields(live))
        self.collection = str(live.get("name", ""))
        self.types = {name: kind for name, kind in fields.items() if _CATCH_ALL not in name}
        self.patterns = {name: kind for name, kind in fields.items() if _CATCH_ALL in name}
        self._compiled = list(_compiled(self.patterns))
        self._parents = {parent for name in self.types for parent in _parents(name)}
        self._nested = live.get("enable_nested_fields") is not False
        self._tables = tables(options.date_unit)
        self._names: dict[str, _Names] = {}
        for parent, _, rest in (name.partition(".") for name in self.types):
            self._names.setdefault(parent, _Names()).count += bool(rest)
        self._new: list[tuple[Node, str, bool]] = []
        self.new_names = 0
        self.root = Node(self, "", "object", self._tables.plain, _Names(), indexed=True, within_one=True)

    def is_like(self, other: "Plan") -> bool:
        """Whether the other plan was made from the same fields of the same collection."""
        return (self.collection, self.types, self.patterns) == (other.collection, other.types, other.patterns)

    def only_adds_to(self, other: "Plan") -> bool:
        """Whether documents mapped by the other plan are right by this one too: no field has changed."""
        same = self.collection == other.collection and self.patterns == other.patterns
        return same and self.types.items() >= other.types.items()

    def keep_new_names(self) -> None:
        """Keep the names of the document at hand: it is mapped."""
        self._new.clear()

    def forget_new_names(self) -> None:
        """Forget the new names of the document at hand: it is refused and never reaches Typesense."""
        while self._new:
            parent, name, is_first = self._new.pop()
            child = parent.children.pop(name)
            self.new_names -= 1
            if child.is_counted:
                child.names.count -= 1
            if is_first:
                del self._names[child.first]

    def grow(self, parent: Node, name: str) -> Node:
        """See `Node.new_child`."""
        at_the_top = parent is self.root
        path = name if at_the_top else f"{parent.path}.{name}"
        problem = problem_at_the_top(name) if at_the_top else problem_anywhere(name)
        if problem is None and len(path.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
            problem = f"has a name of more than {MAX_NAME_BYTES} bytes, with those of the objects around it"
        if problem is not None:
            raise RefusedError("unusable field name", problem, name)
        kind = self._type_of(path) if at_the_top or self._nested else None
        names = (self._names.get(path.partition(".")[0]) or _Names()) if at_the_top else parent.names
        indexed = kind is not None and kind.indexed if at_the_top else parent.indexed and self._nested
        child = Node(
            self,
            path,
            kind.name if kind else "",
            self._converters(path, kind),
            names,
            indexed=indexed,
            within_one=parent.within_one and parent.kind == "object",
        )
        if path in self.types or path in self._parents:
            parent.children[name] = child
        else:
            self._add_new(parent, name, child)
        return child

    def _add_new(self, parent: Node, name: str, child: Node) -> None:
        full = self.new_names >= MAX_NEW_NAMES
        if child.is_counted:
            if full or child.names.count >= MAX_NAMES_BELOW:
                raise DocumentRejected(
                    "too many field names",
                    f"field `{path_text(child.first)}` would have more than {MAX_NAMES_BELOW} names inside, over all "
                    "documents",
                )
            child.names.count += 1
        elif full:
            return  # it does no harm, and is examined again the next time
        is_first = child.first not in self._names
        if is_first:
            self._names[child.first] = child.names
        parent.children[name] = child
        self._new.append((parent, name, is_first))
        self.new_names += 1

    def _converters(self, path: str, kind: FieldType | None) -> Converters:
        asked = self._tables.of_type(kind.name, indexed=kind.indexed) if kind is not None else None
        if asked is not None:
            return asked
        # An object with fields in the schema stays an object, even if it looks like a place.
        return self._tables.objects if path in self._parents else self._tables.plain

    def _type_of(self, path: str) -> FieldType | None:
        kind = self.types.get(path)
        if kind is not None:
            return kind
        found = {kind for pattern, kind in self._compiled if pattern.fullmatch(path)}
        # Which of several matching patterns Typesense uses is undocumented: then no type is enforced.
        if len(found) > 1:
            return FieldType()
        return found.pop() if found else self.patterns.get(_CATCH_ALL)


def _fields(live: Mapping[str, Any]) -> Iterator[tuple[str, FieldType]]:
    try:
        for field in live["fields"]:
            yield str(field["name"]), FieldType(str(field["type"]), field.get("index") is not False)
    except (LookupError, TypeError, AttributeError) as error:
        raise DependencyUnavailable("Typesense: its answer about the collection describes no fields") from error


def _compiled(patterns: Mapping[str, FieldType]) -> Iterator[tuple[re.Pattern[str], FieldType]]:
    for name, kind in patterns.items():
        if name != _CATCH_ALL:
            # C++ reads some patterns differently from Python: no check is better than a wrong one.
            with suppress(re.error):
                yield re.compile(name), kind


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
