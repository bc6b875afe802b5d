"""The transform of the blog's route: a post as it is searched. It takes the mapped document and returns the new one."""

import re
from html.parser import HTMLParser
from typing import Any

WORDS_A_MINUTE = 200
EXCERPT_LENGTH = 70

_UNSEEN = frozenset({"script", "style"})
_INSIDE_A_LINE = frozenset({"a", "b", "em", "i", "strong"})


class _Text(HTMLParser):
    """Gathers what a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in _UNSEEN
        self._separate(tag)

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in _UNSEEN
        self._separate(tag)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(data)

    def _separate(self, tag: str) -> None:
        if tag not in _INSIDE_A_LINE:
            self.parts.append(" ")


def text_of(html: str) -> str:
    """The text of HTML in one line, without its scripts and styles."""
    reader = _Text()
    reader.feed(html)
    reader.close()
    return re.sub(r"\s+", " ", "".join(reader.parts)).strip()


def post(document: dict[str, Any]) -> dict[str, Any]:
    """A post with `text`, `excerpt` and `minutes` in place of its HTML."""
    text = text_of(document.pop("html", ""))
    excerpt = text if len(text) <= EXCERPT_LENGTH else text[:EXCERPT_LENGTH].rpartition(" ")[0] + " …"
    return {**document, "text": text, "excerpt": excerpt, "minutes": 1 + len(text.split()) // WORDS_A_MINUTE}
