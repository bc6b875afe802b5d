"""A MongoDB collection with which something happens at the worst moment: just before or just after one call."""

from collections.abc import Awaitable, Callable
from typing import Any


class Interleaved:
    """Passes everything on to `collection`. The next call of `method` that fits, once `armed`, is interleaved.

    `before` and `after` run next to that call; `fits` is asked with its positional arguments.
    """

    def __init__(
        self,
        collection: Any,
        method: str,
        *,
        before: Callable[[], Awaitable[object]] | None = None,
        after: Callable[[], Awaitable[object]] | None = None,
        fits: Callable[..., bool] = lambda *_: True,
    ) -> None:
        self.armed = True
        self._collection = collection
        self._method = method
        self._before = before
        self._after = after
        self._fits = fits

    @property
    def database(self) -> Any:
        """Its database, in which it takes the place of the real collection."""
        return _Database(self._collection.database, self._collection.name, self)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._collection, name)
        return self._interleaved(found) if name == self._method else found

    def _interleaved(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def called(*arguments: Any, **options: Any) -> Any:
            if not self.armed or not self._fits(*arguments):
                return await call(*arguments, **options)
            self.armed = False
            if self._before is not None:
                await self._before()
            result = await call(*arguments, **options)
            if self._after is not None:
                await self._after()
            return result

        return called


class _Database:
    """A database of which one collection is another."""

    def __init__(self, database: Any, name: str, collection: Interleaved) -> None:
        self._database = database
        self._name = name
        self._collection = collection

    def __getitem__(self, name: str) -> Any:
        return self._collection if name == self._name else self._database[name]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)
