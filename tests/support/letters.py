"""Dead letters without MongoDB, for tests of what sync decides."""

from collections.abc import Sequence

from tsync_stream.core.model import DeadLetter


class Letters:
    """Records the dead letters that were written."""

    def __init__(self) -> None:
        self.written: list[DeadLetter] = []

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        self.written += letters

    async def resolve(self, *_: object) -> int:
        return 0

    async def open_among(self, *_: object, **__: object) -> set[str]:
        return set()
