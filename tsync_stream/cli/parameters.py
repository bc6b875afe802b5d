"""The forms of the command line's values that click does not know. Invariant: declaring them imports no driver."""

from typing import Any

import click
from click.shell_completion import CompletionItem

from tsync_stream.core.errors import ConfigurationError


class Age(click.ParamType):
    """An age such as `90s`, `15m`, `1h` or `7d`, in seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it. Raises `click.BadParameter`, which shows the form."""
        from tsync_stream.settings.forms import parse_age

        text = str(value).strip()
        try:
            return parse_age(text)
        except ValueError:
            self.fail(f"{text!r} is not an age such as 90s, 15m, 1h or 7d", param, ctx)


class RouteName(click.ParamType):
    """The name of a route, which a shell may complete to one that is declared."""

    name = "route"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The declared routes whose names begin like this; none if the settings cannot be used."""
        from tsync_stream.routes.declared import declared_routes, load_all

        try:
            names = declared_routes(load_all())
        except ConfigurationError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Any name: dead letters may be of a route that was removed."""
        return str(value)
