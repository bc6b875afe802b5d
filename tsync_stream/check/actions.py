"""What `apply` would do: a list of actions, as plain data. Pure.

`plan` shows the list, and `apply` finds it in the same way, shows it, asks, finds it again, and does it if it is still
the same.

Invariants: nothing is done that no sentence says. Two lists are equal only if doing them does the same. An action that
was done is not found again. No secret and no document's content is part of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do. `route` is empty if it concerns the whole deployment.

    `sentence` says it in the imperative, `reasons` why, one line each. `change` is what the one who does it needs, by
    `kind`.
    """

    kind: str
    route: str
    sentence: str
    reasons: Sequence[str] = ()
    change: Mapping[str, Any] = field(default_factory=dict)


def of_route(actions: Sequence[Action], route: str) -> list[Action]:
    """The actions of one route; those of the deployment if `route` is empty."""
    return [action for action in actions if action.route == route]


def actions_as_json(actions: Sequence[Action]) -> list[dict[str, Any]]:
    """What `--json` of `plan` and `apply` prints of them."""
    return [
        {"kind": each.kind, "route": each.route or None, "sentence": each.sentence, "reasons": list(each.reasons)}
        for each in actions
    ]
