"""What a user declares about one route. Pure values, checked before they are made; no I/O.

A document passes the parts of a declaration in this order: filter, lookups, pipeline, fields or exclude, rename, the
mapping to Typesense's values with `types`, transform, and last the checks of the live schema. MongoDB does the first
four, in one aggregation over the keys of a batch.

Invariant: two declarations that are equal make the same view of the same documents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from tsync_stream.core.model import Route

Namespace: TypeAlias = tuple[str, str]  # a database and a collection

OnChange: TypeAlias = Literal["reconcile", "reindex"]
FieldForm: TypeAlias = Literal["float", "int32", "int64", "string", "bool", "date_s", "date_ms"]


@dataclass(frozen=True, slots=True)
class Parent:
    """A lookup of documents that a document refers to by their `_id`: `local` holds one key, or several if `many`.

    `fields` of what is found are shown under `shown_as`; an empty `fields` means all.
    """

    collection: str
    local: str
    shown_as: str
    fields: Sequence[str] = ()
    many: bool = False


@dataclass(frozen=True, slots=True)
class Children:
    """A lookup of documents that refer to a document: their field `foreign` holds its `_id`.

    `fields` of them are shown under `shown_as`, in the order of their `_id`, unless there is a `summary`:
    then its fields are. It maps `count` to the name of a field, and `avg`, `sum`, `min` or `max` to pairs of a child's
    field and the name under which the result is shown.
    """

    collection: str
    foreign: str
    shown_as: str
    fields: Sequence[str] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)


Lookup: TypeAlias = Parent | Children


@dataclass(frozen=True, slots=True)
class Declaration:
    """One route. Whatever is left out changes nothing: a route without it shows documents as they are.

    `fields` None: all fields. `transform` is `module:function`. `depends_on` names the fields that `pipeline` and
    `transform` read; None: they may read any. `schema` is a collection schema in Typesense's own words, without its
    name; None: no schema is declared here. `max_rate` is in documents a second, None: no limit. `on_change` says how
    a changed declaration reaches the live collection: at once, by a reconcile, or by a reindex that a person asks for.
    Both change no view.
    """

    route: Route
    filter: Mapping[str, Any] = field(default_factory=dict)
    lookups: Sequence[Lookup] = ()
    pipeline: Sequence[Mapping[str, Any]] = ()
    fields: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, FieldForm] = field(default_factory=dict)
    transform: str = ""
    depends_on: Sequence[str] | None = None
    schema: Mapping[str, Any] | None = None
    max_rate: int | None = field(default=None, compare=False)
    on_change: OnChange = field(default="reconcile", compare=False)

    @property
    def source(self) -> Namespace:
        """The collection whose documents are shown."""
        return self.route.database, self.route.collection

    @property
    def namespaces(self) -> list[Namespace]:
        """Every collection whose changes may change the view: the source, then those of the lookups, each once."""
        looked_up = ((self.route.database, lookup.collection) for lookup in self.lookups)
        return list(dict.fromkeys((self.source, *looked_up)))

    @property
    def is_plain(self) -> bool:
        """Whether documents are shown as they are."""
        return self == Declaration(self.route, schema=self.schema)
