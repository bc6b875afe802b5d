"""`python -m examples.blog`: posts are found by what a reader sees, not by their markup; drafts are not found."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from examples.running import Documents, Example, Running, Search, run

NEW_YEAR = datetime(2025, 1, 1, tzinfo=UTC)
TODAY = datetime(2025, 3, 9, 9, 30, tzinfo=UTC)


def milliseconds(date: datetime) -> int:
    """A date as the route shows it."""
    return int(date.timestamp() * 1000)


def post_line(post: Mapping[str, Any]) -> str:
    """One post as a line of text."""
    day = datetime.fromtimestamp(post["published"] / 1000, UTC).date()
    return f"{post['title']} ({day}, {', '.join(post['tags'])}): {post['excerpt']}"


def posts(title: str, word: str, **parameters: str) -> Search:
    """A search for a word in posts, the newest first."""
    by_date = {"q": word, "query_by": "title,text", "sort_by": "published:desc"}
    return Search(title, "posts", {**by_date, **parameters}, post_line)


BREAD = posts("“bread” in title or text, newest first", "bread", facet_by="tags")
QUICK = posts("Quick ones since the new year", "*", filter_by=f"tags:=quick && published:>={milliseconds(NEW_YEAR)}")
SCRIPT = posts("“track”, a word in the script of a post", "track", num_typos="0")
SOURDOUGH = posts("“sourdough”", "sourdough")
PEARS = posts("“pears”", "pears", num_typos="0")


def prepare(_documents: Documents) -> None:
    """Nothing: the posts refer to no other documents."""


def story(blog: Running) -> None:
    """What happens, and what the search shows."""
    collection = blog.documents.posts
    blog.finds(BREAD, "lentils", "onion-soup", "knives", "rye")
    blog.finds(QUICK, "pickles", "lentils", "focaccia")
    blog.finds(SCRIPT)

    blog.finds(SOURDOUGH, "sourdough")
    blog.change(
        "A draft is published: the route's filter matches it now",
        lambda: collection.update_one({"_id": "starter-rescue"}, {"$set": {"published_at": TODAY}}),
    )
    blog.finds(SOURDOUGH, "starter-rescue", "sourdough")

    blog.change(
        "The plum cake becomes a cake of plums and pears: its HTML is edited",
        lambda: collection.update_one({"_id": "plum-cake"}, {"$set": {"html": "<h2>Plums &amp; <b>pears</b></h2>"}}),
    )
    blog.finds(PEARS, "plum-cake")


EXAMPLE = Example(Path(__file__).parent, "blog", {"posts": 12}, prepare, story)

if __name__ == "__main__":
    sys.exit(run(EXAMPLE))
