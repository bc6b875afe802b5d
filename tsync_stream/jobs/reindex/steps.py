"""The steps of a reindex: `decision.py` chooses one, and `acting.py` does it. Pure values."""

from dataclasses import dataclass
from typing import TypeAlias

from tsync_stream.state.generations import Generations, Leaving


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now. `trouble` says what is wrong, if a person must act; "": it goes on by itself."""

    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Store:
    """Store this document in the place of the one that was read."""

    document: Generations


@dataclass(frozen=True, slots=True)
class Limit:
    """Let the reconcile with this job queue so many documents a second at most."""

    job: str
    rate_per_s: int


@dataclass(frozen=True, slots=True)
class FileVerification:
    """File a verification of this route, under this id."""

    job: str
    route: str


@dataclass(frozen=True, slots=True)
class CarryOver:
    """Carry over what belongs to a collection from one to another; then store where they are, or why it failed."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Show:
    """Have the alias show a collection."""

    collection: str


@dataclass(frozen=True, slots=True)
class StopWriting:
    """Make sure that the key may set the alias; then store this document, by which the old one is not written."""

    document: Generations
    collection: str


@dataclass(frozen=True, slots=True)
class GiveWay:
    """Store this document; then delete the real collection that has the alias's name, and have the alias show this one.

    A deletion that arrives late would follow the alias: the document tells when the last one was sent.
    """

    document: Generations
    collection: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete what is left of a generation: its collection, unless `collection` is "", and its state."""

    leaving: Leaving
    collection: str


Step: TypeAlias = Wait | Store | Limit | FileVerification | CarryOver | Show | StopWriting | GiveWay | Delete
