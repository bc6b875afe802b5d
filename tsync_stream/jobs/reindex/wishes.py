"""What a person may ask of an open reindex, and when; and why something cannot be done. Pure.

Invariant: a wish is stored only in a phase that heeds it, so nobody waits for what never happens.
"""

from collections.abc import Mapping
from dataclasses import replace

from tsync_stream.core.errors import TsyncError
from tsync_stream.state.generations import Generations, Phase, Wish

_HEEDED: Mapping[Wish, tuple[Phase, ...]] = {
    "cancel": ("building", "verifying", "carrying", "failed"),
    "rollback": ("watching", "kept"),
    "finish": ("watching", "kept", "rolling back"),
    "retry": ("failed",),
}


class ReindexRefused(TsyncError):
    """A reindex, or what is asked of it, is not possible now; the message says why, and what is."""


def wished(document: Generations, wish: Wish, *, accept_refused: bool = False) -> Generations:
    """The document with a wish. `accept_refused`: documents that only the new collection refuses hold it up no more.

    Raises `ReindexRefused` if the reindex cannot heed the wish, or none is open.
    """
    reindex = document.reindex
    if reindex is None:
        raise ReindexRefused(f"No reindex of route {document.route} is open.")
    if reindex.phase not in _HEEDED[wish]:
        raise ReindexRefused(_why_not(document, wish))
    options = replace(reindex.options, accept_refused=reindex.options.accept_refused or accept_refused)
    return document.with_reindex(wish=wish, options=options)


def what_is_next(document: Generations, wish: Wish) -> str:
    """What happens now that the wish is stored."""
    reindex = document.reindex
    assert reindex is not None
    new, old = (document.generation(number) for number in (reindex.number, reindex.before))
    assert new is not None
    before = "the collection of before" if old is None else old.collection
    return {
        "cancel": f"The reindex of {document.route} is cancelled; {new.collection} is deleted.",
        "rollback": f"{document.target} shows {before} again at once; {new.collection} is deleted then.",
        "finish": f"{document.target} goes on showing {new.collection}; {before} is deleted.",
        "retry": f"{new.collection} is compared with MongoDB again, and shown if it is equal.",
    }[wish]


def gap_needed(target: str) -> str:
    """Why a real collection cannot be replaced without a moment of wrong answers."""
    return (
        f"{target} is a Typesense collection and no alias. Typesense lets an alias take its place only once it is "
        "deleted, so searches fail for a moment, and there is no way back: `reindex` with --accept-gap does that"
    )


def _why_not(document: Generations, wish: Wish) -> str:
    reindex = document.reindex
    assert reindex is not None
    of = f"The reindex of {document.route} is in its phase `{reindex.phase}`"
    if reindex.phase == "cleaning":
        return f"{of}: what is left of it is being deleted."
    if wish == "cancel":
        if reindex.phase == "swapping":
            return f"{of}: {document.target} is about to show the new collection. --rollback is possible soon."
        return f"{of}: {document.target} shows the new collection already. --rollback shows the old one again."
    if wish == "retry":
        return f"{of}, and has not failed: there is nothing to try again."
    return f"{of}: {document.target} does not show the new collection yet. --cancel removes it."
