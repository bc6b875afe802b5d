"""The models of the routes file. docs/tsync.schema.json is made of them, descriptions and examples included.

A model checks one value at a time; what several say together is checked by `cross_checks`, what only MongoDB
understands by `filters` and `stages`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Field, Tag

from tsync_stream.routes.artefact_models import ArtefactsPart, Curations, Synonyms
from tsync_stream.routes.file_forms import (
    DATE_FORMS,
    PLAIN_FORMS,
    Collection,
    FieldPath,
    FieldPaths,
    Flag,
    Needs,
    NewName,
    OldName,
    OnChange,
    Part,
    ShownPath,
    ShownPaths,
    Source,
    Target,
    TopFields,
    Transform,
    TypeForm,
)
from tsync_stream.routes.stages import ALLOWED
from tsync_stream.settings.field_types import TYPES
from tsync_stream.settings.forms import ROUTE_NAME

MAX_ROUTES = 100
MAX_LOOKUPS = 20


# What editors complete; Typesense may know more than this.
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "fields": {
            "type": "array",
            "minItems": 1,
            "description": "The fields that are searched, and what can be done with them.",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "The field's name, with dots for fields of objects."},
                    "type": {"enum": sorted(TYPES), "description": "The form of its values."},
                    "facet": {
                        "type": "boolean",
                        "description": "Whether values can be counted and offered as filters.",
                    },
                    "optional": {"type": "boolean", "description": "Whether documents may lack it."},
                    "sort": {"type": "boolean", "description": "Whether results can be sorted by it."},
                    "index": {"type": "boolean", "description": "False: it is stored and shown, but not searched."},
                },
                "required": ["name", "type"],
            },
        },
        "default_sorting_field": {"type": "string", "description": "The field that sorts where a search says nothing."},
        "enable_nested_fields": {
            "type": "boolean",
            "description": "Whether fields of objects are searched; true here.",
        },
    },
    "required": ["fields"],
}
STAGE = Needs(
    "a stage of an aggregation",
    {"$set": {"total": "$price"}},
    dict,
    schema={
        "properties": {name: {} for name in ALLOWED},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    },
)


Pairs = Annotated[
    dict[FieldPath, NewName],
    Needs("pairs of a child's field and the name under which the result is shown", {"stars": "rating"}, dict),
]


class SummaryPart(Part):
    """What is shown of the children instead of themselves. At least one."""

    count: NewName | None = None
    """The name of the field that shows how many children there are."""
    avg: Pairs | None = None
    """Means: a child's field, and the name under which the mean is shown."""
    sum: Pairs | None = None
    """Sums: a child's field, and the name under which the sum is shown."""
    min: Pairs | None = None
    """The smallest values: a child's field, and the name under which it is shown."""
    max: Pairs | None = None
    """The largest values: a child's field, and the name under which it is shown."""


class ParentPart(Part):
    """Documents that this one refers to by their `_id`. A change of one refreshes every document that shows it."""

    from_: Collection = Field(alias="from")
    """The collection to look in; in the database of the source."""
    local: FieldPath
    """The field of the source that holds the `_id`, or a list of them if `many` is true."""
    as_: NewName = Field(alias="as")
    """The field under which what is found is shown."""
    fields: TopFields | None = None
    """The fields of what is found to show, by their names at the top level. Left out: all."""
    many: Flag = False
    """Whether `local` holds a list of keys; a list of documents is shown then."""


class ChildrenPart(Part):
    """Documents that refer to this one: their field `foreign` holds its `_id`. Needs MongoDB 6.0, with pre-images."""

    children: Collection
    """The collection to look in; in the database of the source."""
    foreign: FieldPath
    """The field of the children that holds the `_id` of the source's document."""
    as_: NewName = Field(alias="as")
    """The field under which the children are shown as a list, unless there is a `summary`."""
    fields: FieldPaths | None = None
    """The fields of the children to show or to summarize. Left out: all."""
    summary: Annotated[
        SummaryPart | None, Needs("what to summarize", {"count": "review_count", "avg": {"stars": "rating"}}, dict)
    ] = None
    """Numbers to show instead of the children themselves."""


def _kind_of_lookup(value: Any) -> str:
    return "children" if isinstance(value, dict) and "children" in value else "parent"


LookupPart: TypeAlias = Annotated[
    Annotated[ParentPart, Tag("parent")] | Annotated[ChildrenPart, Tag("children")], Discriminator(_kind_of_lookup)
]


class RoutePart(Part):
    """One route: documents of one collection, and what Typesense shows of them."""

    source: Source
    """The MongoDB collection to read, as `database.collection`."""
    target: Target
    """The Typesense collection, or alias, to keep equal. It belongs to this route alone."""
    filter: Annotated[
        dict[str, Any] | None, Needs("a MongoDB query", {"status": "published", "deleted_at": None}, dict)
    ] = None
    """A MongoDB query: documents that do not match it are not in Typesense, and leave it when they cease to match."""
    lookups: Annotated[
        list[LookupPart] | None,
        Needs(
            "a list of lookups",
            [{"from": "sellers", "local": "seller_id", "as": "seller", "fields": ["name"]}],
            list,
            lambda given: f"at most {MAX_LOOKUPS}" if len(given) > MAX_LOOKUPS else "",
            {"maxItems": MAX_LOOKUPS},
        ),
    ] = None
    """Documents of other collections to show inside this one. A change of theirs refreshes it."""
    pipeline: Annotated[
        list[Annotated[dict[str, Any], STAGE]] | None,
        Needs("a list of stages", [{"$set": {"price_per_m2": {"$divide": ["$price", "$area"]}}}], list),
    ] = None
    """Stages of an aggregation that keep one document one document, after the lookups."""
    fields: ShownPaths | None = None
    """The fields to show, those of lookups and of the pipeline included. Left out: all. Not together with `exclude`."""
    exclude: ShownPaths | None = None
    """The fields not to show. Not together with `fields`."""
    rename: Annotated[
        dict[OldName, NewName] | None, Needs("pairs of an old and a new name", {"created_at": "listed_at"}, dict)
    ] = None
    """Other names for fields at the top level: the old name, and the new one."""
    types: Annotated[
        dict[ShownPath, TypeForm] | None,
        Needs(
            "pairs of a field's name and a form",
            {"listed_at": {"date": "ms"}, "price": "float"},
            dict,
            schema={
                "additionalProperties": {
                    "anyOf": [
                        {"enum": list(PLAIN_FORMS)},
                        {
                            "type": "object",
                            "properties": {"date": {"enum": list(DATE_FORMS)}},
                            "required": ["date"],
                            "additionalProperties": False,
                        },
                    ]
                }
            },
        ),
    ] = None
    """The form of fields, by their names after `rename`, where the default mapping is not wanted."""
    transform: Transform | None = None
    """A Python function that takes a document and returns it, or None to leave it out. It runs last."""
    depends_on: ShownPaths | None = None
    """The source's fields that `pipeline` and `transform` read. Left out: they may read any of them."""
    max_rate: Annotated[
        int | None,
        Needs(
            "a whole number of documents a second, above 0",
            500,
            int,
            lambda given: "?" if given < 1 else "",
            {"minimum": 1},
        ),
    ] = None
    """How many documents a second are written to Typesense or deleted there, at most, by all replicas together."""
    on_change: OnChange = "reconcile"
    """What happens once this route is declared otherwise: `reconcile`, the live collection is written by it at once;
    `reindex`, the live collection goes on as it was declared until `apply` or `reindex` builds another one."""
    schema_: Annotated[
        dict[str, Any] | str | None,
        Needs(
            "a collection schema in Typesense's words, or the path of a JSON file with one",
            {"fields": [{"name": "price", "type": "float", "facet": True}], "default_sorting_field": "price"},
            (dict, str),
            schema={"anyOf": [SCHEMA, {"type": "string"}]},
        ),
    ] = Field(default=None, alias="schema")
    """The schema that a missing collection is created with; a path counts from the folder of this file."""
    synonyms: Synonyms | None = None
    """Words that are searched as one, by a name for each. `apply` makes them, replaces them and removes them."""
    curations: Curations | None = None
    """Rules that place, hide or filter the results of some searches, by name. Before Typesense 30: overrides."""


def _route_name(name: str) -> str:
    try:
        return "" if ROUTE_NAME.parse(name) else "?"
    except ValueError:
        return "?"


RouteName = Annotated[str, Needs("1 to 100 letters, digits, `_`, `-` or `.`", "products", reason=_route_name)]


class RoutesPart(ArtefactsPart):
    """The routes file of tsync-stream: which collections Typesense shows, and what of them."""

    routes: Annotated[
        dict[RouteName, RoutePart],
        Needs(
            "at least one route, under its name",
            {"products": {"source": "shop.products", "target": "products"}},
            dict,
            lambda given: "it is empty" if not given else f"at most {MAX_ROUTES}" if len(given) > MAX_ROUTES else "",
            {"minProperties": 1, "maxProperties": MAX_ROUTES, "propertyNames": {"pattern": "^[A-Za-z0-9_.-]{1,100}$"}},
        ),
    ]
    """The routes by name. A route's state is kept under its name, and its metrics carry it."""
