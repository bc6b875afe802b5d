"""Files a reindex: one compare-and-set, after which whoever captures does the rest (`controller.py`).

Invariants: a route has one open reindex; whoever asks for another gets that one. The name of the new collection belongs
to nothing else. Whatever cannot work is refused before anything is stored.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.jobs.reindex.wishes import ReindexRefused, gap_needed
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declaration_bson import declaration_to_bson
from tsync_stream.sink.aliases import MOST_TAKEN, Shown, free_number, shown_by
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.generations import Generations, Reindex, ReindexOptions
from tsync_stream.state.pipeline import new_nonce

# A person files one, and the capturing replica changes the document now and then.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class FiledReindex:
    """The open reindex, and whether it was filed now or was open already."""

    document: Generations
    filed: bool


class Filing:
    """Files reindexes. Calls raise the errors of MongoDB and Typesense."""

    def __init__(self, store: GenerationStore, target: TypesenseTarget) -> None:
        self._store = store
        self._target = target

    def __repr__(self) -> str:
        return f"<Filing at {self._target}>"

    async def prepared(self, declaration: Declaration, *, accept_gap: bool) -> Generations:
        """The document of a declared route as it is stored, or would be. Raises `ReindexRefused` if none can be filed.

        If a reindex is open, that is no reason to refuse.
        """
        route = declaration.route
        known = await self._store.load(route.name)
        if known is not None and known.reindex is not None:
            return known
        shown = await shown_by(self._target, route.target)
        if problem := why_not(route.target, shown, accept_gap=accept_gap):
            raise ReindexRefused(problem)
        if known is None:
            return Generations.first(route.name, route.target, shown.collection)
        # A person may have moved the alias, and the file may be followed by now.
        held = known.shown.declaration if declaration.on_change == "reindex" else None
        live = replace(known.shown, collection=shown.collection, declaration=held)
        return replace(known, target=route.target, generations=(live,))

    async def file(self, declaration: Declaration, options: ReindexOptions, reason: str, now: datetime) -> FiledReindex:
        """File a reindex of a declared route, as it is declared; or find the open one. `now` is MongoDB's time.

        Raises `ReindexRefused` if that cannot work.
        """
        for _ in range(ATTEMPTS):
            known = await self.prepared(declaration, accept_gap=options.accept_gap)
            if known.reindex is not None:
                return FiledReindex(known, filed=False)
            number = await free_number(self._target, known.target, known.next_number)
            if number is None:
                raise ReindexRefused(
                    f"Typesense has collections named {known.target}_{known.next_number} and so on, {MOST_TAKEN} of "
                    "them: delete those that nobody needs."
                )
            reindex = Reindex(new_nonce(), number, known.live, "building", now, now, reason, options)
            wanted = known.filed(reindex, declaration_to_bson(declaration), known.shown.collection)
            if (stored := await self._store.replace(known, wanted)) is not None:
                return FiledReindex(stored, filed=True)
        raise DependencyUnavailable(f"the generations of route {declaration.route.name} keep changing; try again")


def why_not(target: str, shown: Shown, *, accept_gap: bool) -> str:
    """Why no reindex can be filed; "" if it can (pure). `shown` is what the target shows now."""
    if not shown.exists:
        what = f"the alias {target} shows {shown.collection}, which does not exist" if shown.is_alias else ""
        return f"There is nothing to replace: {what or f'Typesense has no {target}'}. A worker creates and fills it."
    if not shown.is_alias and not accept_gap:
        return f"{gap_needed(target)}."
    return ""
