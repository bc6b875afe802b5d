"""What changed between two readings of the settings, and the settings that a running worker can have of it. Pure.

Invariants: a setting that needs a restart keeps its value. The content of a routes file is not compared here: its
layout may change without its routes. Secrets are compared, and only their names appear.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from tsync_stream.settings.effects import Effect, effect_of
from tsync_stream.settings.load import Settings, build
from tsync_stream.settings.secrets import SECRETS, SUFFIX
from tsync_stream.settings.setting import Setting
from tsync_stream.settings.table import SETTINGS

ROUTES_FILE = "ROUTES_FILE"
_BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Difference:
    """The names of what changed, by when it takes effect; settings are in the order of their table."""

    at_once: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.at_once or self.stages or self.restart)

    def plus(self, *, stages: Iterable[str] = (), restart: Iterable[str] = ()) -> "Difference":
        """With more names, each once."""
        return Difference(
            self.at_once,
            tuple(dict.fromkeys([*self.stages, *stages])),
            tuple(dict.fromkeys([*self.restart, *restart])),
        )


def difference(before: Settings, after: Settings) -> Difference:
    """How two readings differ. A secret from a file is left out: whoever uses it watches its file."""
    changed = [setting.name for setting in SETTINGS if _differs(setting, before, after)]
    from_files = secrets_from_files(after)

    def of(effect: Effect) -> tuple[str, ...]:
        return tuple(name for name in changed if _effect(name) == effect and name not in from_files)

    return Difference(of("at once"), of("stages"), of("restart"))


def with_changes(before: Settings, after: Settings, names: Collection[str]) -> Settings:
    """The settings before, with the values after of these names, of secrets from files, and of a routes file."""
    taken = {*names, *secrets_from_files(after)}
    if before.routes_file is not None and after.routes_file is not None:
        taken.add(ROUTES_FILE)
    return build({name: value_of(name, after if name in taken else before) for name in _BY_NAME})


def secrets_from_files(settings: Settings) -> set[str]:
    """The secrets that whoever uses them takes up from their files."""
    return {
        setting.name
        for setting in SECRETS
        if effect_of(setting.name) == "at once" and value_of(f"{setting.name}{SUFFIX}", settings) is not None
    }


def value_of(name: str, settings: Settings) -> Any:
    """The value of a setting by its name."""
    return attrgetter(_BY_NAME[name].field)(settings)


def _differs(setting: Setting, before: Settings, after: Settings) -> bool:
    if setting.name == ROUTES_FILE:
        return (before.routes_file is None) != (after.routes_file is None)
    return bool(value_of(setting.name, before) != value_of(setting.name, after))


def _effect(name: str) -> Effect:
    # Replicas must agree whether there is a routes file at all.
    return "restart" if name == ROUTES_FILE else effect_of(name)
