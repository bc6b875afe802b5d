"""`check` of many routes: each finding names the route, the collection, and what has to be changed."""

from typing import Any

from pymongo.errors import OperationFailure

from tsync_stream.check.findings import Finding
from tsync_stream.check.sources import READ, SOURCE, CollectionFacts, SourceFacts, judge_sources
from tsync_stream.check.typesense import (
    CREATE,
    DELETE,
    EXPORT,
    GET,
    IMPORT,
    TargetFacts,
    TypesenseFacts,
    judge_typesense,
)
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration, Namespace, Parent
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import default_settings

REFERENCE = {"name": "seller", "type": "string", "reference": "people.id"}
SELLER = Parent("sellers", "seller_id", "seller")
LISTINGS = Declaration(Route("listings", "shop", "listings", "window"), lookups=[SELLER])
ORDERS = Declaration(Route("orders", "shop", "orders", "orders"), schema={"fields": [REFERENCE]})
BLOG = Declaration(Route("blog", "press", "posts", "posts"))
TABLE = RouteTable([LISTINGS, ORDERS])
THERE = CollectionFacts("collection")
ALLOWED = {GET: 200, CREATE: 400, IMPORT: 200, DELETE: 404, EXPORT: 200}


def refusal() -> OperationFailure:
    return OperationFailure("not authorized", 13)


def findings(
    table: RouteTable = TABLE, changes: Exception | None = None, **collections: CollectionFacts
) -> list[Finding]:
    """With everything there, except for what is said of some collections by their names."""
    seen: dict[Namespace, CollectionFacts] = {
        (database, name): collections.get(name, THERE) for database, name in table.namespaces
    }
    return list(judge_sources(table, SourceFacts(seen, changes), from_file=True))


def texts(found: list[Finding], level: str = "wrong") -> list[str]:
    return [finding.text for finding in found if finding.level == level]


def test_nothing_is_found_where_everything_is_there() -> None:
    assert findings() == []


def test_a_missing_source_names_its_route_and_what_declares_it() -> None:
    (finding,) = findings(orders=CollectionFacts(None))
    assert finding.text == "route orders: there is no collection shop.orders"
    assert finding.fix == "create it, or correct its `source` (ROUTES_FILE)"
    (view,) = findings(orders=CollectionFacts("view"))
    assert (view.level, view.fix) == ("wrong", "correct its `source` (ROUTES_FILE)")


def test_a_missing_collection_of_a_lookup_is_only_noted() -> None:
    (finding,) = findings(sellers=CollectionFacts(None))
    assert finding.level == "note"
    assert finding.text == "route listings: there is no collection shop.sellers, so its lookup finds nothing"
    assert texts(findings(sellers=CollectionFacts("view")))[0].startswith("route listings: shop.sellers is a view")


def test_the_rights_that_a_stream_needs_depend_on_how_many_databases_it_reads() -> None:
    (one,) = findings(changes=refusal())
    assert one.text == "the user may not open a change stream on the database shop"
    assert one.lines == ('db.grantRolesToUser("USER", [{role: "read", db: "shop"}])',)
    (several,) = findings(RouteTable([LISTINGS, BLOG]), changes=refusal())
    assert several.text == "the user may not open a change stream on the cluster"
    assert "`changeStream` and `find` on all of them" in several.fix
    assert several.lines == ('db.grantRolesToUser("USER", [{role: "readAnyDatabase", db: "admin"}])',)


def test_a_right_that_a_whole_database_lacks_is_told_once() -> None:
    refused = CollectionFacts("collection", {SOURCE: refusal(), READ: refusal()})
    found = findings(changes=refusal(), listings=refused, orders=refused, sellers=refused)
    assert texts(found) == ["the user may not list shop.listings"]


def test_what_only_one_collection_fails_at_is_said_of_it() -> None:
    broken = CollectionFacts("collection", {READ: OperationFailure("", 11)})
    assert texts(findings(orders=broken)) == ["reading shop.orders fails (error 11)"]


def node(**targets: TargetFacts) -> list[Finding]:
    found = {**dict.fromkeys(("window", "orders"), TargetFacts(ALLOWED)), **targets}
    facts = TypesenseFacts(None, 200, {"ok": True}, "29.0", found)
    return list(judge_typesense(default_settings().typesense, TABLE, "http://t", facts).findings)


def test_references_are_demanded_to_be_harmless_in_declared_schemas_and_in_live_ones() -> None:
    (declared,) = node()
    assert declared.text.startswith("the schema of route orders (ROUTES_FILE) refers to another collection with seller")
    assert "is refused, and it is deleted together with that one" in declared.text
    assert "`async_reference: true` and `cascade_delete: false`" in declared.fix
    live: Any = {"fields": [REFERENCE]}
    (of_live, _) = node(window=TargetFacts(ALLOWED, live))
    assert of_live.text.startswith("route listings: the collection window refers to another collection")


def test_what_a_key_lacks_is_said_of_each_route() -> None:
    lacking = TargetFacts({**ALLOWED, DELETE: 401})
    assert "route listings: the API key lacks permissions for window" in texts(node(window=lacking))


def test_a_key_that_is_refused_everywhere_is_told_once() -> None:
    refused = TargetFacts(dict.fromkeys(ALLOWED, 401))
    assert [text for text in texts(node(window=refused, orders=refused)) if "key" in text] == ["the API key is refused"]
