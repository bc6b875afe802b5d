"""`python -m examples.shop`: a rename of a seller and new reviews are seen in the search for products."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from examples.running import Documents, Example, Running, Search, run


def product_line(product: Mapping[str, Any]) -> str:
    """One product as a line of text."""
    stars = f"{product['rating']:.1f} stars of {product['review_count']}" if "rating" in product else "no reviews"
    return f"{product['title']}, {product['price']:.2f} €, {stars}, by {product['seller']['name']}"


MARCH = datetime(2025, 3, 1, tzinfo=UTC)

LIKED_LAMPS = Search(
    "Lamps with 4 stars or more, cheapest first",
    "products",
    {
        "q": "lamp",
        "query_by": "title,description",
        "filter_by": "rating:>=4",
        "sort_by": "price:asc",
        "facet_by": "categories.name",
    },
    product_line,
)
NORDLYS_STUDIO = Search(
    "Everything that Nordlys Studio sells, most expensive first",
    "products",
    {"q": "*", "query_by": "title", "filter_by": "seller.name:=Nordlys Studio", "sort_by": "price:desc"},
    product_line,
)
HOME_OFFICE = Search(
    "New in the category Home office since March, newest first",
    "products",
    {
        "q": "*",
        "query_by": "title",
        "filter_by": f"categories.name:=Home office && listed_at:>={int(MARCH.timestamp())}",
        "sort_by": "listed_at:desc",
    },
    product_line,
)


def prepare(documents: Documents) -> None:
    """Indexes on the fields that refer to other documents, and pre-images: which product a deleted review was about."""
    documents.create_collection("reviews", changeStreamPreAndPostImages={"enabled": True})
    documents.reviews.create_index("product_id")
    documents.products.create_index("seller_id")
    documents.products.create_index("category_ids")


def story(shop: Running) -> None:
    """What happens, and what the search shows."""
    db = shop.documents
    shop.finds(LIKED_LAMPS, "clip-lamp", "desk-lamp", "arc-lamp")

    shop.change(
        "The seller Nordlys is renamed to Nordlys Studio: one document in `sellers` changes",
        lambda: db.sellers.update_one({"_id": "nordlys"}, {"$set": {"name": "Nordlys Studio"}}),
    )
    shop.finds(NORDLYS_STUDIO, "arc-lamp", "desk-lamp", "paper-lamp", "clip-lamp")

    shop.change(
        "Two people give the paper lamp 5 stars: there are two new documents in `reviews`",
        lambda: db.reviews.insert_many([review(901, "paper-lamp", "Ines"), review(902, "paper-lamp", "Bram")]),
    )
    shop.finds(LIKED_LAMPS, "clip-lamp", "paper-lamp", "desk-lamp", "arc-lamp")

    shop.change(
        "One of the two reviews is deleted",
        lambda: db.reviews.delete_one({"_id": 902}),
    )
    shop.finds(LIKED_LAMPS, "clip-lamp", "desk-lamp", "arc-lamp")

    shop.change(
        "The category Office becomes Home office",
        lambda: db.categories.update_one({"_id": 5}, {"$set": {"name": "Home office"}}),
    )
    shop.finds(HOME_OFFICE, "letter-tray", "standing-desk", "desk-mat", "pen-pot")

    shop.change(
        "The clip lamp is withdrawn: the route's filter matches it no longer",
        lambda: db.products.update_one({"_id": "clip-lamp"}, {"$set": {"status": "withdrawn"}}),
    )
    shop.finds(LIKED_LAMPS, "desk-lamp", "arc-lamp")


def review(key: int, product: str, author: str) -> dict[str, Any]:
    """A review with five stars."""
    return {"_id": key, "product_id": product, "stars": 5, "author": author, "written_at": datetime.now(UTC)}


EXAMPLE = Example(Path(__file__).parent, "shop", {"products": 19, "sellers": 4}, prepare, story)

if __name__ == "__main__":
    sys.exit(run(EXAMPLE))
