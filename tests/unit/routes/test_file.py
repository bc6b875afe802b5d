"""The routes file becomes the table of routes, and every problem of it is reported at once, with its place."""

from pathlib import Path
from typing import Any

import pytest

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
        load_all(directory, environ)
    return [problem.replace(str(file), "tsync.yaml") for problem in caught.value.problems]


def route_of(directory: Path, **parts: Any) -> Declaration:
    """The one route of a file with these parts, written in YAML's flow style."""
    lines = "".join(f"    {name}: {text}\n" for name, text in parts.items())
    return table(directory, PLAIN + lines)["products"]


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
    target: ${STAGE}reviews
    filter: {$where: "true"}
"""
    expected = """
PARTITIONS='none' is not valid: it needs a whole number from 1 to 1024, for example PARTITIONS=8
tsync.yaml:3:3, route products: `source` is missing: it needs a database and a collection, as `database.collection`, \
for example `shop.products`
tsync.yaml:4:5, route products: `sorce` is not a key that is known here; did you mean `source`?
tsync.yaml:5:13, route products: `target: my products` is not valid: it needs the name of a Typesense collection or \
alias, without spaces or slashes, for example `products`
tsync.yaml:8:13, route reviews: the variable STAGE is not set: set it in the environment or in .env
tsync.yaml:9:14, route reviews: `$where` is not possible: it runs JavaScript on the MongoDB server; use the operators \
of `$expr`
"""
    assert problems(tmp_path, text, PARTITIONS="none") == expected.strip().splitlines()
