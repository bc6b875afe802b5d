"""The health of the whole deployment, from what each live replica has published and what this one sees (pure)."""

from collections.abc import Iterable, Mapping
from typing import Any

from tsync_stream.core.health import Health
from tsync_stream.observe.stalls import OTHERS
from tsync_stream.observe.status import ReplicaStatus

MOST_PROBLEMS = 50
_WORST = {"red": 0, "degraded": 1}


def problems_json(health: Health, me: str, live: Iterable[ReplicaStatus]) -> list[dict[str, Any]]:
    """The checks that are not green anywhere, the worst first; each once, with the `replicas` that report it.

    Those that this replica has only heard of are left out: whoever reports them is here too.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    own = [problem for problem in health.report()["problems"] if problem["check"] != OTHERS]
    reports = [(me, own), *((replica.name, replica.problems) for replica in live if replica.name != me)]
    for name, problems in reports:
        for problem in problems:
            key = (problem["check"], problem["level"])
            before = found.get(key)
            if before is None:
                found[key] = {**_kept(problem), "replicas": [name]}
            else:
                before["replicas"].append(name)
    ordered = sorted(found.values(), key=lambda each: (_WORST[each["level"]], each["kind"] == "work", each["check"]))
    return ordered[:MOST_PROBLEMS]


def worst_level(problems: Iterable[Mapping[str, Any]]) -> str:
    """`red`, `degraded` or `green`."""
    levels = {problem["level"] for problem in problems}
    return "red" if "red" in levels else "degraded" if levels else "green"


def _kept(problem: Mapping[str, Any]) -> dict[str, Any]:
    names = ("check", "level", "kind", "text", "needs_person", "since")
    return {name: problem.get(name) for name in names}
