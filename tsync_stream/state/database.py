"""The state database: the names of its collections, and how they are read and written.

Invariant: our own state is written with w:majority and read with majority concern from the primary, whatever the URI
says. Otherwise a MongoDB fail-over could undo a lease, an epoch or a dead letter.
"""

from pymongo import ReadPreference
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.source.driver import MongoClient, MongoDatabase

# A write that waits longer for its majority counts as an outage of MongoDB, and is retried.
MAJORITY_TIMEOUT_MS = 5_000

PIPELINE = "pipeline"
LEASES = "leases"
RECHECKS = "rechecks"
DEAD_LETTERS = "dead_letters"
JOBS = "jobs"
JOB_KEYS = "job_keys"
REFRESHES = "refreshes"
VERIFICATIONS = "verifications"
HISTORY = "history"
BACKUPS = "backups"
GENERATIONS = "generations"
ARTEFACTS = "artefacts"
FALLBACK_QUEUE = "fallback_queue"

# The one document of `pipeline` that is no barrier record.
EPOCH_DOCUMENT = "pipeline"


def state_database(client: MongoClient, name: str) -> MongoDatabase:
    """The database `name`, in which tsync-stream keeps its state."""
    return client.get_database(
        name,
        codec_options=BSON_OPTIONS,
        read_preference=ReadPreference.PRIMARY,
        read_concern=ReadConcern("majority"),
        write_concern=WriteConcern(w="majority", wtimeout=MAJORITY_TIMEOUT_MS),
    )
