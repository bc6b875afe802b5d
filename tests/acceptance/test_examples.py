"""Each example by its one command: its searches find what the data says, before and after changes; nothing remains.

What must be found is computed here from the sample data, not taken from the example.
"""

import math
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import httpx
from bson import json_util

from tests.support.processes import left_behind
from tests.support.waiting import wait_for
from tests.support.worker import free_port
from tsync_stream.embedded.supervise import death_signal_setter

ROOT = Path(__file__).parents[2]
STAYS = "Search by yourself"
_BOUND_S = 200.0
_FOUND = re.compile(r"^(?P<title>.+): (?P<count>\d+) found(?: \((?P<ms>\d+) ms later\))?$")


@dataclass
class Found:
    """One search of an example's output."""

    title: str
    count: int
    follows_a_change: bool
    lines: list[str]

    @property
    def ids(self) -> list[str]:
        return [line.split()[0] for line in self.lines if not line.startswith("[")]

    @property
    def facets(self) -> dict[str, Counter[str]]:
        found = (re.fullmatch(r"\[(.+): (.*)\]", line) for line in self.lines)
        pairs = {match[1]: re.findall(r"([^,]+) (\d+)(?:, |$)", match[2]) for match in found if match}
        return {name: Counter({value: int(count) for value, count in values}) for name, values in pairs.items()}


def started(name: str, temporary: Path, log: Path, *flags: str) -> subprocess.Popen[bytes]:
    """Start an example that keeps its folder in `temporary`; it ends with the tests at the latest."""
    temporary.mkdir()
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", f"examples.{name}", *flags],
            cwd=ROOT,
            env={**os.environ, "WEB_PORT": str(free_port()), "TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=death_signal_setter(),  # noqa: PLW1509 - it makes one system call
        )


def searches_of(
    name: str, folder: Path, *flags: str, while_it_stays: Callable[[str], None] | None = None
) -> list[Found]:
    """Run an example; returns its searches in order. `while_it_stays` is given the output, before it is told to end."""
    temporary, log = folder / "temporary", folder / "output"
    process = started(name, temporary, log, *flags)
    try:
        if while_it_stays is not None:
            wait_for(
                lambda: process.poll() is not None or STAYS in log.read_text(), _BOUND_S, "it does not stay", patience=1
            )
            while_it_stays(log.read_text())
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGHUP)  # the terminal is closed meanwhile
        code = process.wait(_BOUND_S)
    finally:
        process.kill()
        print(log.read_text())
    assert code == 0
    assert left_behind(temporary) == []
    assert list(temporary.glob(f"tsync-{name}-*")) == []
    text = log.read_text()
    assert text.endswith("==> Stopped; nothing is left of it.\n")
    assert [part for part in quoted_by(name) if part not in without_times(text)] == []
    return found_in(text.partition(STAYS)[0])


def found_in(text: str) -> list[Found]:
    """The searches of an example's output."""
    searches: list[Found] = []
    for line in text.splitlines():
        if match := _FOUND.match(line):
            searches.append(Found(match["title"], int(match["count"]), match["ms"] is not None, []))
        elif line.startswith("  "):
            searches[-1].lines.append(line.strip())
    assert [len(search.ids) for search in searches] == [search.count for search in searches]
    return searches


def quoted_by(name: str) -> list[str]:
    """The parts of the output that the example's README shows; `[...]` stands for what is between them."""
    page = (ROOT / "examples" / name / "README.md").read_text(encoding="utf-8")
    (quoted,) = (
        text for kind, text in re.findall(r"^```(\w*)\n(.+?)^```$", page, re.MULTILINE | re.DOTALL) if not kind
    )
    return without_times(quoted).split("[...]\n")


def without_times(output: str) -> str:
    """An output without the milliseconds that its searches took."""
    return re.sub(r"\d+ ms later", "later", output)


def data_of(name: str, collection: str) -> dict[Any, dict[str, Any]]:
    """The sample documents of one collection by their `_id`."""
    lines = (ROOT / "examples" / name / "data" / f"{collection}.jsonl").read_text(encoding="utf-8").splitlines()
    return {document["_id"]: document for document in map(json_util.loads, lines)}


def ordered(documents: Iterable[Mapping[str, Any]], by: str, *, falling: bool = False) -> list[str]:
    """The ids in the order of a field."""
    rank = {document["_id"]: document[by] for document in documents}
    values = [value.to_decimal() if hasattr(value, "to_decimal") else value for value in rank.values()]
    ranked = dict(zip(rank, values, strict=True))
    return [str(key) for key in sorted(ranked, key=ranked.__getitem__, reverse=falling)]


# ---- the shop ----


def liked_lamps(products: Mapping[Any, dict[str, Any]], stars: Mapping[str, list[int]]) -> list[dict[str, Any]]:
    """Lamps on sale whose reviews have 4 stars or more in the mean."""
    return [
        product
        for key, product in products.items()
        if product["status"] == "on sale"
        and re.search(r"\blamp", f"{product['title']} {product['description']}", re.IGNORECASE)
        and mean(stars.get(key, [0])) >= 4
    ]


def test_a_killed_example_leaves_no_process(tmp_path: Path) -> None:
    temporary, log = tmp_path / "temporary", tmp_path / "output"
    with started("shop", temporary, log) as process:
        try:
            begun = "==> Typesense has "  # so everything runs
            wait_for(lambda: begun in log.read_text(), 60.0, lambda: f"it does not begin:\n{log.read_text()}")
            assert left_behind(temporary) != []
        finally:
            process.kill()
    wait_for(lambda: not left_behind(temporary), 30.0, lambda: f"still running: {left_behind(temporary)}")


def test_the_shop(tmp_path: Path) -> None:
    first, renamed, praised, taken_back, office, withdrawn = searches_of("shop", tmp_path)
    products, reviews = data_of("shop", "products"), data_of("shop", "reviews").values()
    categories = {key: category["name"] for key, category in data_of("shop", "categories").items()}
    on_sale = [product for product in products.values() if product["status"] == "on sale"]
    stars: dict[str, list[int]] = {}
    for review in reviews:
        stars.setdefault(review["product_id"], []).append(review["stars"])

    liked = liked_lamps(products, stars)
    assert first.ids == ordered(liked, "price")
    assert first.facets == {
        "categories.name": Counter(categories[key] for each in liked for key in each["category_ids"])
    }

    assert renamed.ids == ordered((each for each in on_sale if each["seller_id"] == "nordlys"), "price", falling=True)
    assert all(line.endswith("by Nordlys Studio") for line in renamed.lines)

    assert praised.ids == ordered(liked_lamps(products, {**stars, "paper-lamp": [*stars["paper-lamp"], 5, 5]}), "price")
    assert set(praised.ids) - set(first.ids) == {"paper-lamp"}
    assert [line for line in praised.lines if "4.0 stars of 4, by Nordlys Studio" in line and "Paper lamp" in line]
    assert taken_back.ids == first.ids

    march = json_util.loads('{"$date": "2025-03-01T00:00:00Z"}')
    new = [each for each in on_sale if 5 in each["category_ids"] and each["created_at"] >= march]
    assert office.ids == ordered(new, "created_at", falling=True)

    products["clip-lamp"]["status"] = "withdrawn"
    assert (
        withdrawn.ids
        == ordered(liked_lamps(products, stars), "price")
        == [each for each in first.ids if each != "clip-lamp"]
    )
    assert [search.follows_a_change for search in (first, renamed, praised, taken_back, office, withdrawn)] == [
        False,
        *[True] * 5,
    ]


# ---- the blog ----


def test_the_blog(tmp_path: Path) -> None:
    def search_by_oneself(output: str) -> None:
        """The commands that are given work, and the last one finds what the example found last."""
        commands = re.findall(r"^  curl -H 'X-TYPESENSE-API-KEY: (\w+)' '(http://\S+)'$", output, re.MULTILINE)
        answers = [
            httpx.get(address, headers={"X-TYPESENSE-API-KEY": key}).raise_for_status() for key, address in commands
        ]
        assert [answer.json()["found"] for answer in answers] == [4, 3, 0, 2, 1]

    searches = searches_of("blog", tmp_path, "--stay", while_it_stays=search_by_oneself)
    bread, quick, script, before, published, edited = searches
    posts = data_of("blog", "posts")
    public = [post for post in posts.values() if post["published_at"] is not None]

    def with_word(word: str) -> list[dict[str, Any]]:
        plain = {post["_id"]: re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", post["html"]) for post in public}
        return [
            post for post in public if re.search(rf"\b{word}", f"{post['title']} {plain[post['_id']]}", re.IGNORECASE)
        ]

    assert bread.ids == ordered(with_word("bread"), "published_at", falling=True)
    assert bread.facets == {"tags": Counter(tag for post in with_word("bread") for tag in post["tags"])}
    since = json_util.loads('{"$date": "2025-01-01T00:00:00Z"}')
    recent = [post for post in public if "quick" in post["tags"] and post["published_at"] >= since]
    assert quick.ids == ordered(recent, "published_at", falling=True)
    assert [post["_id"] for post in public if "track" in post["html"]] == ["focaccia"]
    assert script.ids == []

    assert before.ids == ordered(with_word("sourdough"), "published_at", falling=True)
    assert posts["starter-rescue"]["published_at"] is None
    assert published.ids == ["starter-rescue", *before.ids]
    assert edited.ids == ["plum-cake"]
    assert edited.lines[0].endswith(": Plums & pears")
    assert "<" not in "".join(line for search in (bread, quick, before, published, edited) for line in search.lines)


# ---- the homes ----


def km_between(place: tuple[float, float], other: tuple[float, float]) -> float:
    """The distance of two places, each a latitude and a longitude in degrees."""
    (a, b), (c, d) = (map(math.radians, each) for each in (place, other))
    inside = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * 6371 * math.asin(math.sqrt(inside))


def place_of(home: Mapping[str, Any]) -> tuple[float, float]:
    """Its latitude and longitude."""
    longitude, latitude = home["position"]["coordinates"]
    return latitude, longitude


def central(homes: Mapping[Any, dict[str, Any]]) -> list[dict[str, Any]]:
    """What is for sale within 1.5 km of the main square of Graz."""
    available = (home for home in homes.values() if home["status"] == "available")
    return [home for home in available if km_between(place_of(home), (47.0708, 15.4383)) <= 1.5]


def test_the_homes(tmp_path: Path) -> None:
    centre, nearest, moved, sold, of_ada = searches_of("homes", tmp_path)
    homes = data_of("homes", "homes")

    assert centre.ids == ordered(central(homes), "price")
    assert centre.facets == {
        "kind": Counter(home["kind"] for home in central(homes)),
        "extras": Counter(extra for home in central(homes) for extra in home["extras"]),
    }

    airy = [home for home in homes.values() if {"balcony", "garden"} & set(home["extras"])]
    bergen = [
        home | {"km": km_between(place_of(home), (60.3951, 5.3230))}
        for home in airy
        if home["address"]["city"] == "Bergen"
    ]
    assert nearest.ids == ordered(bergen, "km")

    homes[7]["position"]["coordinates"] = [15.4341, 47.0729]
    assert moved.ids == ordered(central(homes), "price")
    assert set(moved.ids) - set(centre.ids) == {"7"}

    homes[2]["status"] = "sold"
    assert sold.ids == ordered(central(homes), "price")
    assert set(moved.ids) - set(sold.ids) == {"2"}

    value = [home for home in homes.values() if home["kind"] == "house" and home["price"] / home["area"] < 4500]
    assert of_ada.ids == [str(home["_id"]) for home in value if home["agent_id"] == "ada"]
    assert all(line.endswith("shown by Ada Winkler-Moser") for line in of_ada.lines)
    assert [search.follows_a_change for search in (centre, nearest, moved, sold, of_ada)] == [
        False,
        False,
        True,
        True,
        True,
    ]
