"""Makes artefacts as they are declared: what one action says, and nothing else.

Invariant: each change is remembered once Typesense has it. If it is cut off between the two, the next `apply` finds it
as declared, and takes charge of it.
"""

from tsync_stream.check.actions import Action
from tsync_stream.check.artefact_difference import action_of, changes, remembered_as
from tsync_stream.check.artefact_places import KeyPlace
from tsync_stream.check.find_artefacts import Compared, find_one
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.state.artefacts import ArtefactMemory


class ArtefactsChanged(ConfigurationError):
    """Between looking and doing, something else has changed the artefacts; nothing was done."""


async def make_artefacts(settings: Settings, action: Action, target: TypesenseTarget, state: MongoDatabase) -> str:
    """Do it; returns what was done.

    Raises `ArtefactsChanged`, `ArtefactRefused` if Typesense does not take one, and the errors of the calls. What was
    done before an error stays, and is not found again.
    """
    compared = await find_one(settings, action.change["kind"], action.route, target, state)
    if compared is None or (now := action_of(compared.group)) is None:
        return "They are as declared already."
    if compared.group.problem:
        raise ConfigurationError(compared.group.problem)
    if now != action:
        raise ArtefactsChanged("They have changed since they were compared; run `apply` again.")
    return await _make(compared, ArtefactMemory(state))


async def _make(compared: Compared, memory: ArtefactMemory) -> str:
    group, place = compared.group, compared.place
    wanted = changes(group)
    numbers: dict[str, int | None] = {}
    for name in [*wanted.make, *wanted.replace]:
        numbers[name] = await place.put(name)
        # Already ours if what follows is cut off; how Typesense describes it is noted below.
        await memory.remember([remembered_as(group, name, {}, numbers[name])])
    for name in wanted.remove:
        await place.remove(name)
        await memory.forget(group.kind, group.route, [name])
    await memory.forget(group.kind, group.route, wanted.forget)
    if isinstance(place, KeyPlace):
        numbers |= {name: place.number(name) for name in wanted.adopt}
    found, _ = await place.found()
    ours = [*wanted.make, *wanted.replace, *wanted.adopt]
    described = {name: each for name in ours if (each := found.get(name)) is not None}
    await memory.remember([remembered_as(group, name, each, numbers.get(name)) for name, each in described.items()])
    otherwise = [name for name, each in described.items() if group.normal(each) != group.normal(group.declared[name])]
    if otherwise:
        return f"They are there; Typesense describes these otherwise than declared: {', '.join(otherwise)}."
    return "They are as declared now."
