"""Aliases that `apply` made beside the target's own one: they show what the target shows.

Invariants: they go before the target's alias, so that being cut off leaves none behind: the step is done again until
that one shows the new collection. Aliases of others stay where they are; while one shows a collection, that collection
is not deleted.
"""

from collections.abc import Callable, Iterable

from tsync_stream.sink.aliases import aliases_of, show
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.global_artefacts import ALIASES
from tsync_stream.state.artefacts import ArtefactMemory


class FurtherAliases:
    """Calls raise the errors of MongoDB and Typesense, and `ConfigurationError` if the key may not set an alias."""

    def __init__(self, target: TypesenseTarget, memory: ArtefactMemory) -> None:
        self._target = target
        self._memory = memory

    def __repr__(self) -> str:
        return f"<FurtherAliases at {self._target}>"

    async def follow(self, collections: Iterable[str], to: str, before_each: Callable[[], None]) -> None:
        """Let those of ours that show one of these collections show `to`. `before_each` is called before each."""
        ours = await self._memory.names(ALIASES.many)
        if not ours:
            return
        for collection in collections:
            for alias in await aliases_of(self._target, collection) or ():
                if alias in ours and collection != to:
                    before_each()
                    await show(self._target, alias, to)
