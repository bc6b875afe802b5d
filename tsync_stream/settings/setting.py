"""One row of the table of settings: a variable's name, default, form and meaning, and what an error about it says."""

from dataclasses import dataclass
from typing import Any

from tsync_stream.settings.forms import Form


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable. `default` is a text in the setting's own form.

    `field` is where its value goes in `load.Settings`, with a dot for a part of it.
    """

    name: str
    default: str
    field: str
    form: Form[Any]
    meaning: str

    def problem(self, text: str, reason: str) -> str:
        """The message for the person who wrote `text`; a secret's text is left out."""
        given = f"{self.name} (its value is not shown)" if self.form.secret else f"{self.name}={text[:100]!r}"
        if not text and not reason:
            reason = "it is set, but empty; leave it out to use the default"
        because = f" ({reason})" if reason else ""
        example = self.form.example or self.default
        advice = f", for example {self.name}={example}" if example else ""
        return f"{given} is not valid{because}: it needs {self.form.needs}{advice}"


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that are documented together."""

    title: str
    settings: tuple[Setting, ...]
