"""Bar plots as small SVG files, written by hand: one group of bars for each scenario, one bar for each contender.

Scenarios differ by orders of magnitude, so within each group the longest bar is that group's largest value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.results import show

_WIDTH = 760
_LEFT = 200  # for the groups' names
_RIGHT = 90  # for the values
_BAR = 16
_GAP = 12
_TOP = 56
_MARGIN = 16
_COLOURS = {"raw": "#9aa0a6", "guide": "#d98c3f", "batching": "#5b8dc9", "tsync": "#2f9e6e"}


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that are shown together: the contenders' values, in order."""

    name: str
    values: Sequence[tuple[str, float]]


def bar_plot(title: str, groups: Sequence[Group]) -> str:
    """The SVG text."""
    y, parts = _TOP, []
    for group in groups:
        parts += _bars(group, y)
        y += len(group.values) * _BAR + _GAP
    shown = [name for name in _COLOURS if any(name == each for group in groups for each, _ in group.values)]
    height = y + _MARGIN - _GAP
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"',
        'font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_MARGIN}" y="22" font-size="14" font-weight="bold">{escape(title)}</text>',
        *_legend(shown),
    ]
    return "\n".join([*head, *parts, "</svg>", ""])


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for place, name in enumerate(names):
        x = _LEFT + 100 * place
        parts.append(f'<rect x="{x}" y="34" width="10" height="10" fill="{_COLOURS[name]}"/>')
        parts.append(f'<text x="{x + 15}" y="43">{escape(name)}</text>')
    return parts


def _bars(group: Group, top: int) -> list[str]:
    largest = max(value for _, value in group.values) or 1.0
    middle = top + len(group.values) * _BAR / 2 + 4
    parts = [f'<text x="{_LEFT - 10}" y="{middle:g}" text-anchor="end">{escape(group.name)}</text>']
    for place, (name, value) in enumerate(group.values):
        y = top + place * _BAR
        length = max(1.0, value / largest * (_WIDTH - _LEFT - _RIGHT))
        parts.append(
            f'<rect x="{_LEFT}" y="{y + 1}" width="{length:.1f}" height="{_BAR - 3}" fill="{_COLOURS[name]}"/>'
        )
        parts.append(f'<text x="{_LEFT + length + 6:.1f}" y="{y + _BAR - 4}">{show(value)}</text>')
    return parts
