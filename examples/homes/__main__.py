"""`python -m examples.homes`: what is for sale near a place; a corrected place and a sale are seen at once."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.running import Documents, Example, Running, Search, run

# Typesense writes the latitude first; MongoDB's GeoJSON writes it last.
MAIN_SQUARE_OF_GRAZ = "47.0708, 15.4383"
HARBOUR_OF_BERGEN = "60.3951, 5.3230"


def home_line(home: Mapping[str, Any]) -> str:
    """One home as a line of text."""
    return (
        f"{home['title']}, {home['address']['street']}: {home['price']:,} € for {home['area']} m² "
        f"({home['price_per_m2']:,.0f} € per m²), shown by {home['agent']['name']}"
    )


IN_THE_CENTRE = Search(
    "Within 1.5 km of the main square of Graz, cheapest first",
    "homes",
    {
        "q": "*",
        "query_by": "title",
        "filter_by": f"location:({MAIN_SQUARE_OF_GRAZ}, 1.5 km)",
        "sort_by": "price:asc",
        "facet_by": "kind,extras",
    },
    home_line,
)
NEAREST = Search(
    "In Bergen with a balcony or a garden, nearest to the harbour first",
    "homes",
    {
        "q": "*",
        "query_by": "title",
        "filter_by": "address.city:=Bergen && extras:=[balcony,garden]",
        "sort_by": f"location({HARBOUR_OF_BERGEN}):asc",
    },
    home_line,
)
GOOD_VALUE = Search(
    "Houses below 4,500 € per square metre, shown by Ada Winkler-Moser",
    "homes",
    {
        "q": "winkler-moser",
        "query_by": "agent.name",
        "filter_by": "kind:=house && price_per_m2:<4500",
        "sort_by": "price_per_m2:asc",
    },
    home_line,
)


def prepare(documents: Documents) -> None:
    """An index on the field that refers to agents."""
    documents.homes.create_index("agent_id")


def story(estate: Running) -> None:
    """What happens, and what the search shows."""
    homes, agents = estate.documents.homes, estate.documents.agents
    estate.finds(IN_THE_CENTRE, 3, 2, 1, 5, 8)
    estate.finds(NEAREST, 9, 10, 13)

    estate.change(
        "The place of home 7 was wrong: it is in the old town, by the river",
        lambda: homes.update_one({"_id": 7}, {"$set": {"position.coordinates": [15.4341, 47.0729]}}),
    )
    estate.finds(IN_THE_CENTRE, 3, 2, 1, 5, 7, 8)

    estate.change(
        "Home 2 is sold: the route's filter matches it no longer",
        lambda: homes.update_one({"_id": 2}, {"$set": {"status": "sold"}}),
    )
    estate.finds(IN_THE_CENTRE, 3, 1, 5, 7, 8)

    estate.change(
        "Ada Winkler marries: one document in `agents` changes",
        lambda: agents.update_one({"_id": "ada"}, {"$set": {"name": "Ada Winkler-Moser"}}),
    )
    estate.finds(GOOD_VALUE, 7)


EXAMPLE = Example(Path(__file__).parent, "estate", {"homes": 13}, prepare, story)

if __name__ == "__main__":
    sys.exit(run(EXAMPLE))
