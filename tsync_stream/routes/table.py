"""All routes of a deployment, as one immutable snapshot with a version. Pure, no I/O.

Invariants: names and targets are unique; two tables with equal declarations have the same version, whatever the layout
of the file they come from. Two routes may share a source. `declared_version` is the version of what the file declares,
which differs from `version` where routes have generations (`generations.py`).
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property

import bson

from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Children, Declaration, Namespace
from tsync_stream.routes.joins import needed_first, waves

VERSION_DIGITS = 16


class RouteTable(Mapping[str, Declaration]):
    """The declarations by the names of their routes, in the order of the file. Raises ValueError for a name twice."""

    def __init__(self, declarations: Iterable[Declaration]) -> None:
        self._declarations: dict[str, Declaration] = {}
        for declaration in declarations:
            name = declaration.route.name
            if name in self._declarations:
                raise ValueError(f"two routes are called {name}")
            self._declarations[name] = declaration
        self.version = _version(self._declarations.values())
        self.declared_version = self.version

    def __getitem__(self, name: str) -> Declaration:
        return self._declarations[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._declarations)

    def __len__(self) -> int:
        return len(self._declarations)

    def __repr__(self) -> str:
        return f"RouteTable({', '.join(self)}; version {self.version})"

    @property
    def routes(self) -> list[Route]:
        """Every route."""
        return [declaration.route for declaration in self.values()]

    def shown_instead_of(self, name: str) -> str | None:
        """The collection that searches find instead of this route's own; None if they find that one."""
        return None

    @property
    def behind(self) -> Mapping[str, Collection[str]]:
        """The routes behind each name that a schema may refer to."""
        return {each.route.target: [name] for name, each in self.items()}

    def created_after(self, name: str) -> list[str]:
        """The collections or aliases that have to exist before this route's own is created."""
        return sorted(self._needed_first[name])

    def creation_waves(self, names: Collection[str]) -> list[Sequence[str]]:
        """These routes in groups, one after the other of which their collections are to be created."""
        return waves(self._needed_first, self.behind, names)

    @cached_property
    def _needed_first(self) -> Mapping[str, Collection[str]]:
        return needed_first(self, self.behind)

    def was_reindexed_away(self, name: str) -> bool:
        """Whether a route that is not in the table is a collection of one that is, which a reindex has replaced."""
        return False

    @property
    def namespaces(self) -> list[Namespace]:
        """Every collection that the change stream has to show, each once."""
        return list(dict.fromkeys(namespace for each in self.values() for namespace in each.namespaces))

    def resolved(self, name: str) -> str:
        """The name of the route that a person means by `name`, which may be unknown: that of its live generation."""
        return name

    def title(self, what: str, route: str) -> str:
        """What a check or a job of one route is called: `reconcile`, or `reconcile listings` among several routes."""
        return what if len(self) == 1 else f"{what} {route}"

    def option(self, route: str) -> str:
        """What a command needs to act on this route alone: ` --route listings`; "" if there is no other."""
        return "" if len(self) == 1 else f" --route {route}"

    @property
    def max_rates(self) -> Mapping[str, float]:
        """The limits of single routes, in documents a second."""
        return {name: each.max_rate for name, each in self.items() if each.max_rate is not None}

    @property
    def reindexed(self) -> frozenset[str]:
        """The routes whose changed declarations wait for a reindex."""
        return frozenset(name for name, each in self.items() if each.on_change == "reindex")

    @property
    def looks_up(self) -> bool:
        """Whether any route shows documents of other collections."""
        return any(each.lookups for each in self.values())

    @property
    def with_pre_images(self) -> set[Namespace]:
        """The collections of children: after a deletion, only a pre-image tells whose child it was."""
        return {
            (each.route.database, lookup.collection)
            for each in self.values()
            for lookup in each.lookups
            if isinstance(lookup, Children)
        }


def digest(declaration: Declaration) -> str:
    """A digest of all that a declaration says; the order of its mappings counts, as it does for MongoDB."""
    said = asdict(declaration)
    # Where it says so, how fast, how a change is taken up, and what the target's name is a name of are other matters.
    del said["route"]["declared_in"], said["route"]["pinned"], said["max_rate"], said["on_change"]
    document = bson.encode({"declaration": as_pairs(said)}, codec_options=BSON_OPTIONS)
    return hashlib.sha256(document).hexdigest()[:VERSION_DIGITS]


def _version(declarations: Iterable[Declaration]) -> str:
    # By name: another order of the routes in the file changes nothing.
    digests = sorted((each.route.name, digest(each)) for each in declarations)
    return hashlib.sha256(repr(digests).encode()).hexdigest()[:VERSION_DIGITS]


def as_pairs(value: object) -> object:
    """Sequences as lists, mappings as pairs: what BSON writes in one way, also where a name is none of BSON's."""
    if isinstance(value, Mapping):
        return {"pairs": [[name, as_pairs(each)] for name, each in value.items()]}
    if isinstance(value, list | tuple):
        return [as_pairs(each) for each in value]
    return value
