"""What happens next with one document, in a sentence (pure).

The first rule that applies speaks: what holds everything up, then what is known to sync the document, then what might.
"""

from collections.abc import Callable, Iterator

from tsync_stream.observe.explanation import Explanation, Next
from tsync_stream.observe.progress import show_age
from tsync_stream.observe.status import Status
from tsync_stream.state.jobs import VERIFY

# A change takes milliseconds; what is older than this is not merely on its way.
ON_ITS_WAY_S = 2.0


def what_happens_next(document: Explanation, status: Status) -> Next:
    """The sentence for a document of which the state database could be read."""
    for rule in (_no_id, _nobody_works, _suspended, _unknown, _equal, _refused, _on_its_way, _might_come):
        found = next(rule(document, status), None)
        if found is not None:
            return found
    if any(each.name == document.route.name and each.verified is not None for each in status.routes):
        return Next(
            "The background verification (VERIFY_RATE) finds and repairs it in its next pass; `tsync verify --route "
            f"{document.route.name} --repair` does so now."
        )
    return Next(
        "Nothing that is known of will sync it before it changes again: `tsync verify "
        f"--route {document.route.name} --repair` does.",
        needs_person=True,
    )


Rule = Callable[[Explanation, Status], Iterator[Next]]


def _no_id(document: Explanation, status: Status) -> Iterator[Next]:
    if not document.possible:
        text = "Nothing: no document of MongoDB can have this id."
        if document.shown:
            text += " It was not written by this program: delete it in Typesense yourself."
        yield Next(text, needs_person=bool(document.shown))


def _nobody_works(document: Explanation, status: Status) -> Iterator[Next]:
    if status.pipeline is None:
        yield Next("Nothing has run yet: the first start of a worker syncs every document.", needs_person=True)
    elif not status.live:
        yield Next("No replica is live: start a worker, which goes on where the last one stopped.", needs_person=True)


def _suspended(document: Explanation, status: Status) -> Iterator[Next]:
    if document.suspended:
        yield Next(
            "The route is suspended: nothing of it is written until that is repaired, and then a reconcile syncs every "
            "document.",
            needs_person=True,
        )


def _unknown(document: Explanation, status: Status) -> Iterator[Next]:
    if document.verdict == "unknown":
        yield Next("That cannot be told while one of the sides cannot be read; sync waits for it too.")


def _equal(document: Explanation, status: Status) -> Iterator[Next]:
    if document.verdict != "equal":
        return
    if document.waiting is not None and document.waiting.entries:
        yield Next(f"Both sides are equal. An entry of it waits in partition {_place(document)}, which repeats that.")
    elif document.shown:
        yield Next("Nothing: both sides are equal. Its next change is synced as usual.")
    else:
        yield Next("Nothing: Typesense should not show it, and does not.")


def _refused(document: Explanation, status: Status) -> Iterator[Next]:
    if document.collection is False:
        yield Next(
            "The Typesense collection is missing: the capturing replica creates it, unless its key may not, and a "
            "reconcile then syncs every document."
        )
    elif any(record.status == "open" for record in document.letters):
        yield Next(
            "It stays refused. Fix the document in MongoDB, and that change syncs it; or fix the schema, and replay "
            "the dead letter.",
            needs_person=True,
        )
    elif document.expected == "refused" and not (document.waiting and document.waiting.entries):
        yield Next("It cannot be written as it is: its next sync makes it a dead letter.", needs_person=True)


def _on_its_way(document: Explanation, status: Status) -> Iterator[Next]:
    route = document.route.name
    if document.waiting is not None and document.waiting.entries:
        yield Next(f"An entry of it waits in partition {_place(document)}.")
    if document.reconcile is not None:
        resumed = " once it is resumed: a person has paused it" if document.reconcile.paused else ""
        yield Next(f"The open reconcile of the route syncs it{resumed} ({document.reconcile.reason}).")
    if document.rechecks:
        yield Next("A write of it is in doubt, and a recheck is stored: it is synced again once that write has ended.")
    if any(job.kind == VERIFY and job.arguments.get("repair") for job in document.jobs):
        yield Next(f"The open verification of the route {route} repairs it.")


def _might_come(document: Explanation, status: Status) -> Iterator[Next]:
    if document.refreshing_since is not None:
        yield Next("A refresh of the route is open, which syncs documents that show what has changed; it may be one.")
    if document.waiting is None:
        yield Next("Entries of it may wait in the queue, which cannot be read.")
    elif not document.waiting.complete:
        yield Next(
            f"Entries of it may wait further behind in partition {_place(document)}: only the oldest were looked at."
        )
    if status.capturing is None:
        yield Next("No replica captures now: changes wait in MongoDB's oplog until one does.")
    if status.lag_s is not None and status.lag_s > ON_ITS_WAY_S:
        yield Next(f"Changes of the last {show_age(status.lag_s)} are not all synced yet; one of them may be its own.")


def _place(document: Explanation) -> str:
    owner = document.owner
    if owner.name is None:
        return f"{owner.partition}, which nobody owns now: a live replica takes it within one LEASE_TTL"
    if owner.state != "live":
        return f"{owner.partition}; its owner {owner.name} is {owner.state}, and another replica takes it over"
    return f"{owner.partition}, which {owner.name} syncs"
