"""What `plan` says of each route, as values and as JSON. Pure.

Invariants: names, types, counts and keys of documents are shown, never a value; only `--document` shows content, of the
one document that a person names. A route is fine if no sampled document would fail and nothing is wrong.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from bson import json_util

from tsync_stream.check.actions import Action, actions_as_json
from tsync_stream.check.findings import Finding, note, wrong
from tsync_stream.check.plan_facts import Count, RouteFacts
from tsync_stream.check.typesense_releases import reference_findings
from tsync_stream.core.model import Key
from tsync_stream.routes.observations import Observed
from tsync_stream.routes.sampling import Rejections
from tsync_stream.sink.values import path_text


@dataclass(frozen=True, slots=True)
class Failure:
    """A reason for which documents would become dead letters. `sampled` had it; `estimate` is about all documents."""

    reason: str
    detail: str
    sampled: int
    estimate: Count
    examples: Sequence[Key]


@dataclass(frozen=True, slots=True)
class Shown:
    """One document as MongoDB holds it, and as Typesense would show it; `failure`: or why it would not."""

    before: Mapping[str, Any]
    after: Mapping[str, Any] | None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What is said of one route."""

    facts: RouteFacts
    failures: Sequence[Failure]
    findings: Sequence[Finding]
    document: Shown | None = None

    @property
    def fine(self) -> bool:
        """Whether nothing would fail."""
        return not self.failures and all(finding.level != "wrong" for finding in self.findings)


def plan_of(facts: RouteFacts, version: str = "", document: Shown | None = None) -> RoutePlan:
    """The plan of a route. `version` is Typesense's release, if it is known."""
    name = facts.declaration.route.name
    findings = [finding for width in facts.widths for finding in width.findings]
    findings += reference_findings(facts.wanted, f"the schema of route {name}", version)
    findings += _notes(facts)
    return RoutePlan(facts, list(_failures(facts)), findings, document)


def kinds_text(seen: Observed) -> str:
    """The types that were seen at a path, with their counts."""
    return ", ".join(f"{form} {count:,}" for form, count in seen.forms.most_common())


def _failures(facts: RouteFacts) -> Iterator[Failure]:
    rejections: Rejections = facts.sample.rejections
    for (reason, detail), sampled in rejections.counts.most_common():
        whole = facts.sample.documents == facts.matching.number and facts.sample.complete
        number = sampled if whole else max(1, sampled * facts.matching.number // max(1, facts.sample.documents))
        yield Failure(reason, detail, sampled, Count(number, whole), rejections.examples[reason, detail])


def _notes(facts: RouteFacts) -> Iterator[Finding]:
    if facts.problem:
        yield wrong(facts.problem, "correct the route's declaration")
    elif not facts.sample.documents:
        yield note(
            "there are no documents to look at: with a first start now, Typesense would give every field the type of "
            "its first value",
            "load some documents first, or declare a schema",
        )
    elif not facts.sample.complete:
        yield note("reading the sample took too long, so it is smaller than it should be")


# ---- JSON ----


def relaxed(value: Any) -> Any:
    """BSON as relaxed extended JSON."""
    return orjson.loads(json_util.dumps(value, json_options=json_util.RELAXED_JSON_OPTIONS))


def as_json(plans: Sequence[RoutePlan], of_servers: Sequence[Finding], actions: Sequence[Action]) -> dict[str, Any]:
    """What `--json` prints; docs/commands.md describes it."""
    return {
        "ok": not of_servers and all(plan.fine for plan in plans),
        "findings": [_finding(each) for each in of_servers],
        "actions": actions_as_json(actions),
        "routes": {plan.facts.declaration.route.name: _route(plan) for plan in plans},
    }


def _route(plan: RoutePlan) -> dict[str, Any]:
    facts = plan.facts
    route = facts.declaration.route
    return {
        "ok": plan.fine,
        "source": f"{route.database}.{route.collection}",
        "target": route.target,
        "documents": _count(facts.matching),
        "sampled": facts.sample.documents,
        "fields": [_seen(seen, facts) for seen in facts.sample.observations.paths.values()],
        "conflicts": [
            {
                "level": each.level,
                "field": each.path,
                "problem": each.problem,
                "proposal": each.proposal,
                "documents": relaxed(list(each.examples)),
            }
            for each in facts.proposal.conflicts
        ],
        "proposal": facts.proposal.schema,
        "default_sorting_fields": list(facts.proposal.sorting),
        "declared": facts.declared is not None,
        "failures": [
            {
                "reason": each.reason,
                "detail": each.detail,
                "sampled": each.sampled,
                "documents": _count(each.estimate),
                "examples": relaxed(list(each.examples)),
            }
            for each in plan.failures
        ],
        "lookups": [
            {"collection": each.collection, "field": each.field, "most": each.most, "exact": each.exact}
            for each in facts.widths
        ],
        "effect": _effect(facts),
        "added": _count(facts.added),
        "removed": _count(facts.removed),
        "findings": [_finding(each) for each in plan.findings],
        "document": _document(plan.document),
    }


def _seen(seen: Observed, facts: RouteFacts) -> dict[str, Any]:
    proposed = next((each for each in facts.proposal.fields if each["name"] == seen.path), None)
    return {
        "field": path_text(seen.path),
        "documents": seen.documents,
        "types": {str(form): count for form, count in seen.forms.most_common()},
        "proposed": None if proposed is None else proposed["type"],
        "facet": proposed is not None and bool(proposed.get("facet")),
    }


def _effect(facts: RouteFacts) -> dict[str, Any]:
    if facts.effect is None:
        return {"kind": "collection created", "added": [], "changed": []}
    return {"kind": facts.effect.kind, "added": facts.effect.added_names, "changed": list(facts.effect.changed)}


def _document(shown: Shown | None) -> dict[str, Any] | None:
    if shown is None:
        return None
    return {"before": relaxed(shown.before), "after": shown.after, "failure": shown.failure or None}


def _count(count: Count) -> Mapping[str, Any]:
    return {"number": count.number, "exact": count.exact}


def _finding(finding: Finding) -> dict[str, Any]:
    return {"level": finding.level, "text": finding.text, "fix": finding.fix, "lines": list(finding.lines)}
