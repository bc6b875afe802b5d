"""The routes file becomes the table of routes, and every problem of it is reported at once, with its place."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.objectid import ObjectId
from bson.regex import Regex

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Children, Declaration, Parent
from tsync_stream.routes.declared import declared_routes, load_all
from tsync_stream.routes.table import RouteTable

PLAIN = """
routes:
  products:
    source: shop.products
    target: products
"""

FULL = """# yaml-language-server: $schema=docs/tsync.schema.json
routes:
  listings:
    source: neatlisting.listings
    target: listings
    filter: {status: published, deleted_at: null}
    lookups:
      - {from: sellers, local: seller_id, as: seller, fields: [name, rating]}
      - {from: categories, local: category_ids, as: categories, fields: [name], many: true}
      - {children: reviews, foreign: listing_id, as: reviews, fields: [stars],
         summary: {count: review_count, avg: {stars: rating}}}
    pipeline:
      - {$set: {price_per_m2: {$divide: [$price, $area]}}}
    fields: [title, price, price_per_m2, seller, categories, review_count, rating, location, created_at]
    rename: {created_at: listed_at}
    types: {listed_at: {date: ms}, price: float}
    transform: json:dumps
    depends_on: [title, price, area]
    schema:
      fields: [{name: price, type: float, facet: true}, {name: location, type: geopoint, optional: true}]
      default_sorting_field: price
"""


def table(directory: Path, text: str, **environ: str) -> RouteTable:
    (directory / "tsync.yaml").write_text(text, encoding="utf-8")
    return declared_routes(load_all(directory, environ))


def problems(directory: Path, content: str | bytes, **environ: str) -> list[str]:
    """The problems, without the file's path."""
    file = directory / "tsync.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigurationError) as caught:
        load_all(directory, environ, imports=True)
    return [problem.replace(str(file), "tsync.yaml") for problem in caught.value.problems]


def route_of(directory: Path, **parts: Any) -> Declaration:
    """The one route of a file with these parts, written in YAML's flow style."""
    lines = "".join(f"    {name}: {text}\n" for name, text in parts.items())
    return table(directory, PLAIN + lines)["products"]


@pytest.fixture(autouse=True)
def dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("STAGE=test\nLEAST=12\n", encoding="utf-8")


def test_a_route_needs_a_source_and_a_target(tmp_path: Path) -> None:
    assert list(table(tmp_path, PLAIN).values()) == [Declaration(Route("products", "shop", "products", "products"))]


def test_every_part_of_a_route_is_read(tmp_path: Path) -> None:
    assert table(tmp_path, FULL)["listings"] == Declaration(
        Route("listings", "neatlisting", "listings", "listings"),
        filter={"status": "published", "deleted_at": None},
        lookups=(
            Parent("sellers", "seller_id", "seller", ("name", "rating")),
            Parent("categories", "category_ids", "categories", ("name",), many=True),
            Children(
                "reviews", "listing_id", "reviews", ("stars",), {"count": "review_count", "avg": {"stars": "rating"}}
            ),
        ),
        pipeline=({"$set": {"price_per_m2": {"$divide": ["$price", "$area"]}}},),
        fields=(
            *("title", "price", "price_per_m2", "seller", "categories", "review_count", "rating"),
            *("location", "created_at"),
        ),
        rename={"created_at": "listed_at"},
        types={"listed_at": "date_ms", "price": "float"},
        transform="json:dumps",
        depends_on=("title", "price", "area"),
        schema={
            "fields": [
                {"name": "price", "type": "float", "facet": True},
                {"name": "location", "type": "geopoint", "optional": True},
            ],
            "default_sorting_field": "price",
        },
    )


def test_all_problems_are_reported_together_in_the_order_of_their_places(tmp_path: Path) -> None:
    text = """
routes:
  products:
    sorce: shop.products
    target: my products
  reviews:
    source: shop.reviews
    target: ${KIND}reviews
    filter: {$where: "true"}
"""
    expected = """
PARTITIONS='none' is not valid: it needs a whole number from 1 to 1024, for example PARTITIONS=8
tsync.yaml:3:3, route products: `source` is missing: it needs a database and a collection, as `database.collection`, \
for example `shop.products`
tsync.yaml:4:5, route products: `sorce` is not a key that is known here; did you mean `source`?
tsync.yaml:5:13, route products: `target: my products` is not valid: it needs the name of a Typesense collection or \
alias, without spaces or slashes, for example `products`
tsync.yaml:8:13, route reviews: the variable KIND is not set: set it in the environment or in .env
tsync.yaml:9:14, route reviews: `$where` is not possible: it runs JavaScript on the MongoDB server; use the operators \
of `$expr`
"""
    assert problems(tmp_path, text, PARTITIONS="none") == expected.strip().splitlines()


def test_variables_are_filled_in(tmp_path: Path) -> None:
    found = route_of(tmp_path, filter='{stage: "${STAGE}", note: "$${STAGE} ${STAGE}"}')
    assert found.filter == {"stage": "test", "note": "${STAGE} test"}


def test_a_variable_without_quotes_is_read_as_its_value_would_be(tmp_path: Path) -> None:
    text = PLAIN + "    filter:\n      price: {$gte: 1}\n      rank: ${LEAST}\n      text: '${LEAST}'\n"
    assert table(tmp_path, text)["products"].filter == {"price": {"$gte": 1}, "rank": 12, "text": "12"}


def test_the_environment_goes_before_dotenv(tmp_path: Path) -> None:
    found = table(tmp_path, PLAIN.replace("target: products", "target: ${STAGE}-products"), STAGE="live")
    assert found["products"].route.target == "live-products"


@pytest.mark.parametrize("text", ["${}", "${A-B}", "${STAGE:-x}", "${STAGE"])
def test_what_names_no_variable_is_a_problem(tmp_path: Path, text: str) -> None:
    (found,) = problems(tmp_path, PLAIN.replace("target: products", f"target: {text}"))
    assert found.startswith("tsync.yaml:5:13, route products: ")
    assert "it needs the name of a variable, for example `${STAGE}`" in found


def test_the_place_of_a_missing_variable_is_inside_its_text(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, PLAIN.replace("target: products", "target: 'a-${NONE}'"))
    assert found.startswith("tsync.yaml:5:16, route products: the variable NONE is not set")


def test_no_message_shows_a_variable(tmp_path: Path) -> None:
    secret = "s3cret 0/"
    text = """
routes:
  a:
    source: ${SECRET}
    target: ${SECRET}
    filter: {at: "${SECRET}", $or: "${SECRET}", b: {$oid: "${SECRET}"}}
    lookups: ["${SECRET}", {from: "${SECRET}", local: "${SECRET}", as: "${SECRET}", many: "${SECRET}"}]
    pipeline: ["${SECRET}", {$unset: "${SECRET}"}]
    fields: ["${SECRET}", "${SECRET}"]
    rename: {x: "${SECRET}"}
    types: {x: "${SECRET}"}
    transform: ${SECRET}
    schema: ${SECRET}
  b:
    source: shop.b
    target: b
    schema: {fields: [{name: "${SECRET}", type: "${SECRET}"}]}
"""
    found = problems(tmp_path, text, SECRET=secret)
    assert len(found) > 8
    assert "s3cret" not in "\n".join(found)
    assert all("${SECRET}" in each or "SECRET" not in each for each in found)


VALUES = {
    '{$oid: "65a1b2c3d4e5f60718293a4b"}': ObjectId("65a1b2c3d4e5f60718293a4b"),
    '{$date: "2024-05-06T07:08:09Z"}': datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
    "{$date: 2024-05-06T07:08:09Z}": datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
    '{$numberLong: "12"}': Int64(12),
    '{$numberDecimal: "12.50"}': Decimal128("12.50"),
    '{$uuid: "0f0e0d0c-0b0a-4908-8706-050403020100"}': Binary(bytes.fromhex("0f0e0d0c0b0a49088706050403020100"), 4),
    '{$regularExpression: {pattern: "^a", options: "i"}}': Regex("^a", "i"),
    "{$maxKey: 1}": MaxKey(),
    "null": None,
    "yes": "yes",
    "true": True,
    "0x1f": 31,
    "1e3": 1000.0,
    "'12'": "12",
}


@pytest.mark.parametrize(("written", "value"), VALUES.items(), ids=VALUES)
def test_values_of_a_filter(tmp_path: Path, written: str, value: object) -> None:
    found = route_of(tmp_path, filter=f"{{a: {{$gte: {written}}}, b: [{written}]}}").filter
    assert found == {"a": {"$gte": value}, "b": [value]}
    assert type(found["b"][0]) is type(value)


@pytest.mark.parametrize(
    "query",
    [
        "{status: published, deleted_at: null}",
        "{price: {$gt: 1, $lte: 2.5}, 'a.b.0': {$exists: true}}",
        "{$or: [{a: 1}, {$and: [{b: {$in: [1, 2]}}, {c: {$not: {$regex: '^x'}}}]}]}",
        "{tags: {$elemMatch: {$gte: 1, $lt: 2}}, items: {$elemMatch: {kind: x, 'n': {$size: 2}}}}",
        "{$expr: {$gt: [$price, {$multiply: [2, $cost]}]}}",
        "{location: {$geoWithin: {$centerSphere: [[5, 6], 0.1]}}, flags: {$bitsAllSet: [1]}}",
        "{point: {x: 1, y: 2}, empty: {}}",
    ],
)
def test_queries_that_decide_by_the_document_are_possible(tmp_path: Path, query: str) -> None:
    assert route_of(tmp_path, filter=query).filter


def test_a_summary_may_show_its_count_under_the_name_of_the_lookup(tmp_path: Path) -> None:
    lookups = "[{children: reviews, foreign: product_id, as: reviews, summary: {count: reviews}}]"
    assert route_of(tmp_path, lookups=lookups).lookups == (
        Children("reviews", "product_id", "reviews", (), {"count": "reviews"}),
    )


def test_a_schema_may_be_a_file_beside_the_routes_file(tmp_path: Path) -> None:
    schema = {"name": "other", "fields": [{"name": "price", "type": "float"}], "default_sorting_field": "price"}
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "products.json").write_text(json.dumps(schema), encoding="utf-8")
    found = route_of(tmp_path, schema="schemas/products.json").schema
    assert found == {"fields": [{"name": "price", "type": "float"}], "default_sorting_field": "price"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[]", "the file must hold one object"),
        (b"{", "the file is not JSON"),
        (b"\xff", "the file is not JSON"),
        (b'{"fields": [{"name": "a", "type": "flaot"}]}', "is it float?"),
        (b" " * 1_048_577, "the file is larger than 1024 KB"),
    ],
)
def test_a_schema_file_that_is_wrong_is_a_problem_where_it_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "schema.json").write_bytes(content)
    (found,) = problems(tmp_path, f"{PLAIN}    schema: schema.json\n")
    assert found.startswith("tsync.yaml:6:5, route products: ")
    assert says in found


def test_what_looks_like_a_date_is_a_text_where_names_are_expected(tmp_path: Path) -> None:
    found = route_of(tmp_path, exclude="[2024-05-06]", types="{a: string}", schema="{fields: [{name: a, type: auto}]}")
    assert found.exclude == ("2024-05-06",)
    assert type(found.exclude[0]) is str
    found = route_of(tmp_path, schema="{fields: [{name: 2024-05-06, type: auto}]}")
    assert found.schema is not None
    assert type(found.schema["fields"][0]["name"]) is str


def test_a_table_is_made_once_in_a_process(tmp_path: Path) -> None:
    first = table(tmp_path, PLAIN)
    assert declared_routes(load_all(tmp_path, {})) is first
    assert table(tmp_path, PLAIN.replace("shop.", "store.")).version != first.version


def test_the_layout_of_a_file_does_not_count(tmp_path: Path) -> None:
    flow = "routes: {products: {target: products, source: 'shop.products'}} # the same\n"
    assert table(tmp_path, flow).version == table(tmp_path, PLAIN).version


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "tsync.yaml").write_bytes(b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode())
    assert list(declared_routes(load_all(tmp_path, {}))) == ["products"]
