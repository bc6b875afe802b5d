"""Requests about documents by their ids (pure): as few as there can be, whatever the ids hold.

Invariant: an id is never read as anything else than an id, neither in a filter nor in a path.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

# A filter travels in the request line, of which proxies take 8 KB by default, and some less.
MAX_FILTER_BYTES = 4_000
_LITERAL = re.compile(r"(?! )[^`\[\]]*[^`\[\]\\ ]")


@dataclass(frozen=True, slots=True)
class IdRequest:
    """One request: about those that `filter_by` finds, or, where that is empty, about `document_id` by its path.

    `ids` are those that the filter names. Paths are what comes behind the path of the collection's documents.
    """

    filter_by: str = ""
    document_id: str = ""
    ids: tuple[str, ...] = ()

    @property
    def delete_path(self) -> str:
        """Where to send DELETE."""
        return f"?{self._filter}" if self.filter_by else self._document

    @property
    def get_path(self) -> str:
        """Where to send GET. A filter is answered by a line for each document, a path by the document."""
        return f"/export?{self._filter}" if self.filter_by else self._document

    def smaller(self) -> "list[IdRequest]":
        """What to ask for instead where this is refused; nothing if it is as small as can be."""
        if not self.filter_by:
            return []
        if len(self.ids) == 1:
            return [IdRequest(document_id=self.ids[0])]
        middle = len(self.ids) // 2
        return [_by_filter(self.ids[:middle]), _by_filter(self.ids[middle:])]

    @property
    def _filter(self) -> str:
        return f"filter_by={quote(self.filter_by, safe='')}"

    @property
    def _document(self) -> str:
        return f"/{path_segment(self.document_id)}"


def id_requests(ids: Iterable[str]) -> list[IdRequest]:
    """The requests about these ids: few by filters, and one by path for each id that fits none (pure)."""
    by_filter: list[str] = []
    by_path: list[IdRequest] = []
    for document_id in ids:
        if fits_filter(document_id):
            by_filter.append(document_id)
        else:
            by_path.append(IdRequest(document_id=document_id))
    return [*map(_by_filter, filter_parts(by_filter)), *by_path]


def fits_filter(document_id: str) -> bool:
    """Whether an id can be written between backticks in a filter, on every release of Typesense (pure).

    A backtick ends the literal, a backslash before its end hides that end, and spaces around it are cut off; an empty
    literal crashes 0.24.1. From 26 to 28 brackets are counted within backticks too, so that what follows one is read
    as a filter of its own; from 28 on `*` stands for all documents.
    """
    return document_id != "*" and _LITERAL.fullmatch(document_id) is not None


def path_segment(document_id: str) -> str:
    """An id as one segment of a path; `.` and `..` would be taken for directions (RFC 3986, section 5.2.4)."""
    return quote(document_id, safe="") if document_id.strip(".") else document_id.replace(".", "%2E")


def filter_parts(ids: Iterable[str]) -> list[tuple[str, ...]]:
    """The ids of one filter of bounded length after the other (pure)."""
    parts: list[tuple[str, ...]] = []
    part: list[str] = []
    size = 0
    for document_id in ids:
        added = len(quote(_literal(document_id))) + 3
        size += added
        if part and size > MAX_FILTER_BYTES:
            parts.append(tuple(part))
            part, size = [], added
        part.append(document_id)
    if part:
        parts.append(tuple(part))
    return parts


def _by_filter(ids: tuple[str, ...]) -> IdRequest:
    return IdRequest(filter_by=f"id:[{','.join(map(_literal, ids))}]", ids=ids)


def _literal(document_id: str) -> str:
    """Backticks keep commas, operators and parentheses inside."""
    return f"`{document_id}`"
