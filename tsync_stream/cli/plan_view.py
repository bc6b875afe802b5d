"""What `plan` prints for people (pure)."""

from collections.abc import Iterator, Sequence

import orjson
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tsync_stream.check.actions import Action
from tsync_stream.check.findings import Finding
from tsync_stream.check.plan import RoutePlan, Shown, kinds_text, relaxed
from tsync_stream.check.plan_facts import RouteFacts
from tsync_stream.cli.check import render_findings
from tsync_stream.core.key_text import show_key
from tsync_stream.core.model import Key
from tsync_stream.core.terminal import printable
from tsync_stream.sink.values import path_text

# More rows, conflicts or failures are left to `--json`.
MOST_ROWS = 200
MOST_LINES = 40
_LONGEST_KEY = 60


def render(
    plans: Sequence[RoutePlan], wrong: Sequence[Finding], actions: Sequence[Action], left_alone: Sequence[str] = ()
) -> RenderableType:
    """All routes, what is wrong with the servers, what `apply` would do and what it leaves alone, and a verdict."""
    parts: list[RenderableType] = [part for plan in plans for part in _route(plan)]
    parts.append(render_actions(actions))
    parts += [Text(printable(each), "dim") for each in left_alone]
    if wrong:
        parts += [Text("the servers", "bold"), _indented(render_findings(wrong))]
    failing = sum(len(plan.failures) for plan in plans)
    problems = len(wrong) + sum(each.level == "wrong" for plan in plans for each in plan.findings)
    if failing or problems:
        said = [f"{_plural(failing, 'reason')} for which documents would fail"] * bool(failing)
        said += [f"{_plural(problems, 'problem')} found"] * bool(problems)
        parts.append(Text(", ".join(said), "bold red"))
    else:
        parts.append(Text("no document of the samples would fail", "bold green"))
    return Group(*parts)


def render_actions(actions: Sequence[Action]) -> RenderableType:
    """What `apply` does, one sentence after the other."""
    if not actions:
        return Text("`apply` has nothing to do")
    lines = [Text("`apply` does this:", "bold")]
    for number, action in enumerate(actions[:MOST_LINES], start=1):
        lines.append(Text(f"{number:>3}. {printable(action.sentence)}"))
        lines += [Text(f"     - {printable(reason)}") for reason in action.reasons[:MOST_LINES]]
        if len(action.reasons) > MOST_LINES:
            lines.append(Text(f"     - and {len(action.reasons) - MOST_LINES:,} more reasons: `--json` shows all"))
    if len(actions) > MOST_LINES:
        lines.append(Text(f"     and {len(actions) - MOST_LINES:,} more: `--json` shows all"))
    return Group(*lines)


def _route(plan: RoutePlan) -> Iterator[RenderableType]:
    facts = plan.facts
    route = facts.declaration.route
    yield Text.assemble(
        (f"route {route.name}", "bold"), f": {route.database}.{route.collection} → {route.target} (Typesense)"
    )
    yield _indented(Text(f"{facts.matching} documents, {facts.sample.documents:,} of them looked at"))
    if facts.sample.observations.paths:
        yield _fields(facts)
    yield from map(_indented, _conflicts(facts))
    yield from map(_indented, _failures(plan))
    if facts.widths:
        yield _lookups(facts)
    yield _indented(_effect(facts))
    yield _indented(Text(f"a reconcile would add {facts.added} documents, and remove {facts.removed}"))
    if plan.findings:
        yield _indented(render_findings(plan.findings))
    if plan.document is not None:
        yield _document(plan.document)
    yield Text()


def _fields(facts: RouteFacts) -> RenderableType:
    proposed = {field["name"]: field for field in facts.proposal.fields}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column("field", overflow="fold", max_width=40)
    table.add_column("documents", justify="right", no_wrap=True)
    table.add_column("types seen", overflow="fold")
    table.add_column("proposed", no_wrap=True)
    table.add_column("good for", overflow="fold")
    paths = facts.sample.observations.paths
    for seen in list(paths.values())[:MOST_ROWS]:
        field = proposed.get(seen.path, {})
        uses = [name for name, wanted in (("facets", field.get("facet")), ("sorting", field.get("sort"))) if wanted]
        if seen.path in facts.proposal.sorting:
            uses.append("default_sorting_field")
        name = printable(path_text(seen.path))
        table.add_row(name, f"{seen.documents:,}", kinds_text(seen), field.get("type", "-"), ", ".join(uses))
    if len(paths) > MOST_ROWS:
        table.add_row(f"{len(paths) - MOST_ROWS:,} more", "", "`--json` shows all", "", "")
    return table


def _conflicts(facts: RouteFacts) -> Iterator[Text]:
    found = facts.proposal.conflicts
    for each in found[:MOST_LINES]:
        style = "bold yellow" if each.level == "conflict" else "bold cyan"
        yield Text.assemble((f"{each.level}: ", style), printable(str(each)), _examples(each.examples))
    if len(found) > MOST_LINES:
        yield Text(f"{len(found) - MOST_LINES:,} more conflicts and notes: `--json` shows all")


def _failures(plan: RoutePlan) -> Iterator[Text]:
    for each in plan.failures[:MOST_LINES]:
        words = printable(f"{each.estimate} documents: {each.reason}: {each.detail}")
        yield Text.assemble(("would fail: ", "bold red"), words, _examples(each.examples))
    if len(plan.failures) > MOST_LINES:
        yield Text(f"{len(plan.failures) - MOST_LINES:,} more reasons: `--json` shows all")


def _examples(keys: Sequence[Key]) -> Text:
    if not keys:
        return Text()
    return Text(f" (_id {', '.join(show_key(key, _LONGEST_KEY) for key in keys)})", "dim")


def _lookups(facts: RouteFacts) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column("lookup", overflow="fold")
    table.add_column("refers by", overflow="fold")
    table.add_column("most documents that refer to one", justify="right")
    for width in facts.widths:
        most = "unknown" if width.most is None else f"{'' if width.exact else 'about '}{width.most:,}"
        table.add_row(width.lookup.shown_as, f"{width.collection}.{width.field}", most)
    return table


def _effect(facts: RouteFacts) -> RenderableType:
    whose = "declared schema" if facts.declared is not None else "proposal"
    target = facts.declaration.route.target
    if facts.effect is None:
        return Text(f"the Typesense collection {target} is missing: the first start creates it by the {whose}")
    if facts.effect.kind == "nothing":
        return Text(f"the live collection {target} agrees with the {whose}")
    lines = [Text(f"the live collection {target}, compared with the {whose}:")]
    lines += [Text(f"  it lacks {printable(each)}") for each in facts.effect.added_names[:MOST_LINES]]
    lines += [Text(f"  it needs a reindex for {printable(each)}") for each in facts.effect.changed[:MOST_LINES]]
    if facts.declared is None:
        lines.append(Text("  `apply` changes nothing for a proposal: declare it first (`plan --write`)"))
    return Group(*lines)


def _document(shown: Shown) -> RenderableType:
    after = Text(shown.failure, "red") if shown.after is None else Text(_pretty(shown.after))
    return Group(
        _indented(Text("in MongoDB", "bold")),
        _indented(Text(_pretty(relaxed(shown.before)))),
        _indented(Text("in Typesense", "bold")),
        _indented(after),
    )


def _pretty(value: object) -> str:
    return "\n".join(map(printable, orjson.dumps(value, option=orjson.OPT_INDENT_2).decode().splitlines()))


def _indented(part: RenderableType) -> RenderableType:
    return Padding(part, (0, 0, 0, 2))


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
