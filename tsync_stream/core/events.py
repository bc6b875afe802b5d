"""The names of what is logged: one for each kind of line, which stay the same when a message is worded anew.

Invariants: every line of ours has a name from this table, and docs/logs.md describes each. Its fields are names and
numbers that a message could hold too: never a secret, the id of a document, or its content.
"""

from typing import Any

# The name of lines of Faust, mode and other libraries.
OTHER = "library"

EVENTS = {
    "backup.began": "a scheduled backup began",
    "backup.done": "it is made; the message has its file and size",
    "backup.unforeseen": "it failed in a way that nobody foresaw, and is tried again",
    "capture.batches_lost": "batches were not appended in time; they are read again",
    "capture.ended": "a term of capturing ended, as the message says",
    "capture.fenced": "another replica captures; this one stops",
    "capture.unforeseen": "an agent failed with a batch in hand; capture begins again from what is durable",
    "epoch.continued": "this replica captures, and continues the epoch",
    "epoch.opened": "the next epoch opened, on the tier and for the reason that the message names",
    "health.green": "a check is green again",
    "health.not_green": "a check is not green, or says something else than before",
    "job.began": "a job that somebody filed began",
    "job.done": "it is done; the message has its counts",
    "job.given_up": "it cannot be done by this version, or its route is gone",
    "job.paused": "a person has paused a job or a reconcile",
    "job.progress": "how far a job or a reconcile is, now and then",
    "job.resumed": "it goes on",
    "jobs.full_pace": "jobs queue at full pace again",
    "jobs.yielding": "jobs queue more slowly, because searches take longer than usual",
    "leases.expired": "this replica was declared expired by others, and starts over",
    "leases.given_up": "leases are not ours any more",
    "leases.lost": "a lease has another holder",
    "leases.not_returned": "leases could not be given back at the stop; they expire",
    "leases.recreated": "leases were missing from the state database",
    "leases.taken": "leases are ours now",
    "library": "a line of Faust or another library",
    "mongodb.reconnecting": "the client is made anew after a refusal",
    "otlp.failing": "metrics cannot be exported",
    "partition.new_owner": "an ack was refused; the batch is checked again",
    "pipeline.first_start": "the first start: every document is queued",
    "reconcile.began": "a reconcile began",
    "reconcile.done": "it is done; the message has its counts",
    "reconcile.question_void": "whether to delete need not be answered any more",
    "redis.differs": "a server is not set as the settings say",
    "redis.set": "a worker changed a server's setting",
    "refresh.began": "documents that look others up began to be refreshed",
    "refresh.done": "they are synced",
    "reindex.collection_kept": "a collection that is not needed any more stays, since an alias shows it",
    "reindex.ended": "a reindex is over, as the message says",
    "reindex.phase": "a reindex goes on; its phase, and what happens next",
    "reindex.unforeseen": "it failed in a way that nobody foresaw, and is tried again",
    "replica.gone": "another replica ended; its leases are taken over",
    "route.not_marked": "the target of a route cannot be marked yet",
    "route.removed": "a route is declared no more; its collection stays",
    "route.schema": "what was found for the schema of a route",
    "route.suspension_delayed": "a route cannot be suspended yet",
    "route.usable": "a suspended route can be synced again",
    "route.view_stored": "a route with `on_change: reindex` goes on as it is declared now",
    "settings.ignored": "a variable looks like a setting, and is none",
    "routes.changed": "a reindex has changed the table of routes, which is taken up",
    "secret.changed": "the file of a secret changed, and what became of that",
    "secret.refused": "a server refuses the new secret, and still takes the one before",
    "settings.hidden": "a change in `.env` has no effect, since the environment has the variable too",
    "settings.left_out": "what the settings do without, and what that costs",
    "settings.refused": "files that changed cannot be used; the settings before stay in force",
    "settings.reloaded": "changed settings or routes are in force; the message names them",
    "settings.replaced": "replicas with other settings or routes take over",
    "settings.restart_needed": "what changed needs a restart; the message names it",
    "settings.unchanged": "a look that somebody asked for (SIGHUP) found no change",
    "settings.unverified": "a certificate is not checked, as a setting says",
    "sync.unforeseen": "the sync agent failed with a batch in hand; the batch is retried",
    "tier.absent": "a tier does not answer at the start",
    "tier.cleaned_up": "older epochs were removed from a tier",
    "tier.clean_up_delayed": "they stay until the tier answers",
    "tier.unusable": "a tier cannot be the queue now",
    "typesense.blind": "the API key may not see something; what may go unnoticed",
    "typesense.no_alias": "a collection is created without an alias before it",
    "typesense.smaller_requests": "a proxy refused a request for its size",
    "verification.differs": "the verification in the background found a difference",
    "verification.done": "it has compared every document of a route",
    "verification.unforeseen": "it failed in a way that nobody foresaw, and is tried again",
    "verify.differs": "a verification found differences, and was not asked to repair them",
    "web.action": "somebody changed something in the dashboard",
    "web.unforeseen": "the dashboard met an error that nobody foresaw; the pipeline goes on",
    "worker.second_signal": "a second signal: the process ends at once",
    "worker.unforeseen": "an error that nobody foresaw: the process ends, and others take over",
}


def event(name: str, **fields: str | int | float | None) -> dict[str, Any]:
    """The `extra` of a line: its name, and what a program that reads the log may want apart from the message."""
    assert name in EVENTS, name
    return {"event": name, "fields": fields}
