"""The settings that a process works with now, and what outlives a change of them.

Invariant: what replicas must have in common is fixed when the process starts, whatever its files say later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Self

import orjson

from tsync_stream.settings.common import common_settings
from tsync_stream.settings.load import Settings
from tsync_stream.settings.table import SETTINGS

VERSION_DIGITS = 12


@dataclass(slots=True)
class InForce:
    """`common`: what replicas have in common. `instead_of`: the version of the table of routes before, or "".

    `restart_for` names what has changed in files and needs a restart. `since`: when these settings came into force.
    """

    settings: Settings
    common: Mapping[str, str]
    instead_of: str = ""
    restart_for: Sequence[str] = ()
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __repr__(self) -> str:
        waiting = f", a restart is needed for {', '.join(self.restart_for)}" if self.restart_for else ""
        return f"<InForce {self.version}{waiting}>"

    @classmethod
    def at_start(cls, settings: Settings) -> Self:
        """The settings that a process starts with. Raises `ConfigurationError` if the schema file cannot be read."""
        return cls(settings, common_settings(settings))

    def after(self, settings: Settings, instead_of: str) -> Self:
        """With other settings from now on."""
        return replace(self, settings=settings, instead_of=instead_of, since=datetime.now(UTC))

    @property
    def version(self) -> str:
        """A digest of all settings but secrets: two replicas with the same one have read the same."""
        file = self.settings.routes_file
        content = b"" if file is None else file.content
        described = orjson.dumps(self.settings.describe(), option=orjson.OPT_SORT_KEYS)
        return sha256(described + content).hexdigest()[:VERSION_DIGITS]

    @property
    def published(self) -> dict[str, object]:
        """What other replicas, and whoever asks for the status, may know."""
        return {"version": self.version, "since": self.since, "restart_for": list(self.restart_for)}


def files_of(settings: Settings) -> dict[Path, str]:
    """The files that settings name, there or not, with the names of these settings."""
    values = ((setting.name, attrgetter(setting.field)(settings)) for setting in SETTINGS)
    found = {value: name for name, value in values if name.endswith("_FILE") and isinstance(value, Path)}
    if settings.routes_file is not None:
        found[settings.routes_file.path] = "ROUTES_FILE"
    return found
