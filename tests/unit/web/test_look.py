"""The look that everybody with the dashboard open shares."""

from pathlib import Path

import pytest

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.settings.load import Settings, load_settings
from tsync_stream.web import look
from tsync_stream.web.look import SharedLook


class Reader:
    """Reads nothing, and notes who was opened and closed."""

    opened: list[Settings]
    closed: list[Settings]

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.opened.append(settings)

    async def __aexit__(self, *_error: object) -> None:
        self.closed.append(self._settings)

    async def read(self) -> None:
        raise DependencyUnavailable("no answer")


async def test_changed_settings_are_looked_at_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Reader.opened, Reader.closed = [], []
    monkeypatch.setattr(look, "StatusReader", Reader)
    first, second = load_settings(tmp_path, {}), load_settings(tmp_path, {"MONGODB_URI": "mongodb://elsewhere"})
    in_force = [first]
    shared = SharedLook(lambda: in_force[-1])
    for _ in range(2):
        assert (await shared.present()).problem == "no answer"
        shared.again()
    assert (Reader.opened, Reader.closed) == ([first], [])
    in_force.append(second)
    await shared.present()
    assert (Reader.opened, Reader.closed) == ([first, second], [first])
    await shared.close()
    assert Reader.closed == [first, second]
