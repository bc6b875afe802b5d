"""`reconcile`: what is asked for: whole routes, some documents of one, or that open ones wait or go on.

Invariant: what does not go together is refused before anything is touched.
"""

from dataclasses import dataclass

import click

from tsync_stream.cli.choosing import Opened, opened
from tsync_stream.cli.jobs import Steering, steer_job, steered_as_json, what_was_steered
from tsync_stream.cli.partial import run_partial
from tsync_stream.cli.partial_choice import read_choice
from tsync_stream.cli.reconcile import run_reconcile
from tsync_stream.cli.routes import chosen_routes
from tsync_stream.cli.shared import EXIT_WRONG, print_json, reachable_settings, say
from tsync_stream.core.terminal import printable
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.settings.load import Settings
from tsync_stream.state.jobs import PARTIAL, RECONCILE


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options that say which documents, and how fast."""

    route: str | None
    query: str | None
    ids_file: str | None
    rate_per_s: int | None
    allow_mass_delete: bool
    wait: bool


async def run_reconciles(
    settings: Settings,
    *,
    route: str | None,
    route_option: str | None,
    pause: str | None,
    resume: str | None,
    cancel: str | None,
    as_json: bool,
    **asked: object,
) -> int:
    """File reconciles, or steer the open ones."""
    if route is not None and route_option not in {None, route}:
        raise click.UsageError(f"One route at a time: {printable(route)} or {printable(route_option or '')}.")
    wanted = _Asked(route or route_option, **asked)  # type: ignore[arg-type]
    steering = Steering(pause, resume, cancel)
    if steering:
        _require_steering_alone(wanted, steering)
        return await _steer(settings, wanted.route, steering, as_json=as_json)
    if wanted.query is None and wanted.ids_file is None:
        return await run_reconcile(
            settings,
            route=wanted.route,
            rate_per_s=wanted.rate_per_s,
            allow_mass_delete=wanted.allow_mass_delete,
            wait=wanted.wait,
            as_json=as_json,
        )
    if wanted.query is not None and wanted.ids_file is not None:
        raise click.UsageError("Choose the documents with --filter or with --ids, not with both.")
    if wanted.query is not None and wanted.allow_mass_delete:
        raise click.UsageError("--allow-mass-delete is for whole reconciles and for --ids; --filter does not need it.")
    choice = read_choice(wanted.query, wanted.ids_file)
    return await run_partial(
        settings,
        choice,
        route=wanted.route,
        rate_per_s=wanted.rate_per_s,
        allow_mass_delete=wanted.allow_mass_delete,
        wait=wanted.wait,
        as_json=as_json,
    )


def _require_steering_alone(wanted: _Asked, steering: Steering) -> None:
    others = wanted != _Asked(wanted.route, None, None, None, allow_mass_delete=False, wait=False)
    steering.require_alone("a partial reconcile", others=others or bool(steering.cancel and wanted.route))


async def _steer(settings: Settings, route: str | None, steering: Steering, *, as_json: bool) -> int:
    settings = reachable_settings(settings)
    if steering.cancel is not None:
        async with opened(settings) as our:
            return await steer_job(our, PARTIAL, steering, as_json=as_json)
    paused = steering.pause is not None
    name = (steering.pause if paused else steering.resume) or ""
    async with StatusReader(settings) as reader, opened(settings) as our:
        steered = await _steer_open_ones(reader, our, route, name, paused=paused)
    if as_json:
        print_json({"ok": bool(steered), "jobs": [steered_as_json(*each, paused=paused) for each in steered]})
    elif steered:
        named = [f"{kind} of {of_route}" + (f" {job}" if kind == PARTIAL else "") for of_route, job, kind in steered]
        print(what_was_steered(named, PARTIAL, name, paused=paused))
    if not steered:
        say(f"There is no open reconcile{f' {printable(name)}' if name else ''}; `tsync status` lists the open jobs.")
    return 0 if steered else EXIT_WRONG


async def _steer_open_ones(
    reader: StatusReader, our: Opened, route: str | None, name: str, *, paused: bool
) -> list[tuple[str, str, str]]:
    """Pause or resume the open reconciles with this job or of this route; "": all, of `route` if that is given.

    Returns the route, job and kind of each.
    """
    seen = await reader.read()
    routes = {each.name for each in chosen_routes(reader.table, route)}
    meant = reader.table.resolved(name)
    found = [(each.route, each.job, RECONCILE) for each in seen.reconciles]
    found += [(job.route, job.id, PARTIAL) for job in seen.jobs if job.kind == PARTIAL]
    chosen = [each for each in found if each[0] in routes and (not name or each[0] == meant or each[1] == name)]
    steered = []
    for each in chosen:
        _, job, kind = each
        if kind == RECONCILE:
            done = await reader.positions.steer_reconcile(job, paused=paused)
        else:
            done = await our.jobs.steer(job, paused=paused) is not None
        if done:
            steered.append(each)
    return steered
