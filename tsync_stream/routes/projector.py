"""What Typesense should show of a source document (pure).

Sync writes what a projector returns, and verification expects it: both ask here, so they cannot disagree. A projector
knows one state of the live schema; where the schema has changed, its caller takes another one.

Invariant: a document that cannot be shown raises `DocumentRejected`, and affects no other document.
"""

from collections.abc import Mapping
from typing import Any

from tsync_stream.sink.mapping import encode_line, map_document
from tsync_stream.sink.mapping_plan import Plan
from tsync_stream.source.undecodable import require_readable


class Projector:
    """The projection by one `plan`. Both methods take a document as `source/documents.py` reads it.

    They raise `DocumentRejected` for what could not be decoded, mapped or encoded; `map_document` and `encode_line`
    list the reasons.
    """

    __slots__ = ("plan",)

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def line(self, document: Mapping[str, Any], document_id: str) -> bytes:
        """One line of an import, without its line feed. `document_id` is the Typesense id of the document's key."""
        if type(document) is not dict:  # nearly never, and the call would take longer than asking
            require_readable(document)
        return encode_line(map_document(document, self.plan, document_id))

    def shown(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The Typesense document, before it is encoded."""
        require_readable(document)
        return map_document(document, self.plan)
