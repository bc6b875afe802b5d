"""Sample listings and their changes: plausible inventions. Pure: the caller passes the random generator."""

import random
from datetime import UTC, datetime
from typing import Any, Literal

Kind = Literal["insert", "update", "delete"]

POPULATION = 300

_KINDS = ("flat", "loft", "studio", "cottage", "houseboat", "penthouse", "farmhouse", "townhouse")
_MOODS = ("bright", "quiet", "sunny", "cosy", "airy", "modern", "charming", "spacious")
_PLACES = (
    "near the harbour",
    "with a garden",
    "above the bakery",
    "by the river",
    "at the market square",
    "next to the park",
    "with a roof terrace",
    "behind the old theatre",
    "close to the station",
    "with a view of the mountains",
)
_DETAILS = (
    "The kitchen was renovated last year and has a large window to the courtyard.",
    "Bicycles find room in the cellar, and the tram stops around the corner.",
    "The wooden floor is original, the heating is not.",
    "Two rooms face south; from the balcony one sees the church tower.",
    "The neighbours make music, but only until nine.",
    "There is a fireplace, a pantry and a surprisingly big bathroom.",
    "Pets are welcome, and so is everyone who likes climbing stairs.",
    "A washing machine, a dishwasher and fast internet are included.",
)
_CITIES = {
    "Lisbon": (-9.14, 38.72),
    "Graz": (15.44, 47.07),
    "Tartu": (26.72, 58.38),
    "Ghent": (3.72, 51.05),
    "Turin": (7.69, 45.07),
    "Bergen": (5.32, 60.39),
    "Porto": (-8.61, 41.15),
    "Cork": (-8.47, 51.90),
}

# Searches for people who type none; the third shows that Typesense tolerates typos.
SAMPLE_SEARCHES = ("harbour", "sunny loft", "fireplase", "garden lisbon", "quiet houseboat")

# The middle of Lisbon, as Typesense writes places: the latitude first.
SAMPLE_PLACE = "38.72, -9.14"


def listing(change: int, generator: random.Random) -> dict[str, Any]:
    """A new listing. `change` is the number of the change that inserts it."""
    city = generator.choice(list(_CITIES))
    longitude, latitude = (degrees + generator.uniform(-0.05, 0.05) for degrees in _CITIES[city])
    title = f"{generator.choice(_MOODS)} {generator.choice(_KINDS)} {generator.choice(_PLACES)}"
    return {
        "title": title.capitalize(),
        "description": " ".join(generator.sample(_DETAILS, 3)),
        "price": generator.randrange(400, 3000, 10),
        "rooms": generator.randint(1, 7),
        "address": {"city": city, "street": f"{generator.choice(('Mill', 'Church', 'Harbour', 'Linden'))} Street"},
        "position": {"type": "Point", "coordinates": [longitude, latitude]},
        "listed": datetime.now(UTC),
        "change": change,
    }


def new_price(change: int, generator: random.Random) -> dict[str, Any]:
    """What an update sets."""
    return {"price": generator.randrange(400, 3000, 10), "change": change}


def next_kind(population: int, generator: random.Random) -> Kind:
    """The kind of the next change, chosen so that the population grows to about POPULATION and stays there."""
    inserts = 3 if population < POPULATION else 1
    deletes = 0 if population == 0 else 1 if population <= POPULATION else 3
    updates = 0 if population == 0 else 3
    kinds: tuple[Kind, ...] = ("insert", "update", "delete")
    return generator.choices(kinds, (inserts, updates, deletes))[0]
