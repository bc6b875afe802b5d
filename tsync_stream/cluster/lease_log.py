"""What the log says of a replica's leases: one line for each change, never one for a renewal."""

import logging
from collections.abc import Mapping

from tsync_stream.cluster.assignment import Held, describe_leases
from tsync_stream.core.events import event

log = logging.getLogger(__name__)


def log_changes(logged: Mapping[str, int], held: Mapping[str, Held]) -> Mapping[str, int]:
    """Log which leases are ours since the fences in `logged`, and which are not any more; returns today's fences."""
    taken = [lease for name, lease in held.items() if logged.get(name) != lease.fence]
    gone = logged.keys() - held.keys()
    if taken:
        in_doubt = sum(lease.after_expiry for lease in taken)
        words = f" ({in_doubt} of them from a holder that expired or did not finish)" if in_doubt else ""
        text = f"{describe_leases(lease.name for lease in taken)}{words}"
        log.info("leases: now ours: %s", text, extra=event("leases.taken", leases=len(taken)))
    if gone:
        log.info("leases: no longer ours: %s", describe_leases(gone), extra=event("leases.given_up", leases=len(gone)))
    return {name: lease.fence for name, lease in held.items()}


def log_expired(replica: str) -> None:
    """Others have declared this replica expired."""
    text = "leases: %s was declared expired by others; starting over without any"
    log.warning(text, replica, extra=event("leases.expired"))


def log_missing(leases: int) -> None:
    """So many leases are missing from the state database."""
    text = "leases: %d are missing from the state database; creating them again"
    log.error(text, leases, extra=event("leases.recreated", leases=leases))


def log_lost(lease: str) -> None:
    """A lease that was ours has another holder."""
    log.warning("leases: %s has another holder now, and is left to it", lease, extra=event("leases.lost", lease=lease))
