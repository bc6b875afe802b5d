"""What Typesense still shows under the ids of refused documents, and which of that must be deleted.

Invariants: under an id, Typesense shows the document that owns the id, or with ON_REJECT=keep an older version of it;
never a deleted document, and never another one that had the same id. An id that another document owns is left alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from tsync_stream.core.keys import typesense_id
from tsync_stream.core.model import SHOWS_ANOTHER, SHOWS_NOTHING, SHOWS_OLDER, DeadLetter, Entry, Operation
from tsync_stream.sink.dividing import Refusal
from tsync_stream.state.dead_letters import ID_COLLISION, DeadLetters, can_be_queued, record_id

OnReject = Literal["keep", "delete"]


async def outdated_ids(
    letters: Sequence[DeadLetter], entries: Sequence[Entry], dead_letters: DeadLetters, on_reject: OnReject
) -> list[str]:
    """The ids of refused documents under which nothing may be shown any more. Raises the errors of MongoDB calls.

    `letters` are those of documents that exist; their records must not have been written over yet.
    """
    owners = [letter for letter in letters if letter.reason != ID_COLLISION and can_be_queued(letter.key)]
    refused = {typesense_id(letter.key): letter for letter in owners}
    if on_reject == "delete" or not refused:
        return list(refused)
    # If an entry says that the document was deleted, what is shown is not this one; nor is it if the document's last
    # letter says that nothing of it is shown. Otherwise an older version is shown.
    deleted = {
        typesense_id(entry.key) for entry in entries if entry.operation == Operation.DELETE and can_be_queued(entry.key)
    }
    route = letters[0].route
    unseen = await dead_letters.open_among(route, (letter.key for letter in refused.values()), unseen=True)
    return [
        document_id
        for document_id, letter in refused.items()
        if document_id in deleted or record_id(route, letter.key) in unseen
    ]


def with_what_is_shown(letters: Sequence[DeadLetter], outdated: Sequence[str]) -> list[DeadLetter]:
    """The letters, each with what Typesense shows under its id once `outdated` are deleted (pure)."""
    gone = set(outdated)

    def shown(letter: DeadLetter) -> str:
        if letter.reason == ID_COLLISION:
            return SHOWS_ANOTHER
        return SHOWS_OLDER if can_be_queued(letter.key) and typesense_id(letter.key) not in gone else SHOWS_NOTHING

    return [replace(letter, shown=shown(letter)) for letter in letters]


def with_refused_deletions(
    letters: Sequence[DeadLetter], not_deleted: Sequence[Refusal], entries: Sequence[Entry]
) -> list[DeadLetter]:
    """The letters, with one for each document that should be gone but is still shown (pure)."""
    route, refused = entries[0].route, {refusal.document_id: refusal for refusal in not_deleted}
    still_shown: dict[str, DeadLetter] = {}
    for key in (*(letter.key for letter in letters), *(entry.key for entry in entries)):
        refusal = refused.get(typesense_id(key)) if can_be_queued(key) else None
        if refusal is not None and refusal.document_id not in still_shown:
            letter = DeadLetter(route, key, refusal.reason, refusal.error, SHOWS_OLDER)
            still_shown[refusal.document_id] = letter
    keys = {record_id(route, letter.key) for letter in still_shown.values()}
    return [*(letter for letter in letters if record_id(route, letter.key) not in keys), *still_shown.values()]
