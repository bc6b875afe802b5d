"""The identity of a replica: a readable name, new at every process start, and what is needed to see that it is dead.

A replica on the same kernel and in the same process namespace can look at the process table instead of waiting for a
lease to run out. Invariant: `is_dead` is True only if that is certain.
"""

import os
import secrets
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_UNKNOWN = ""
_ENDED = "ended"  # a zombie: nobody has collected its exit code yet


@dataclass(frozen=True, slots=True)
class Identity:
    """A process. `kernel` names one boot of one machine and one process namespace, or is "" where unknown."""

    replica: str
    kernel: str
    pid: int
    started: str

    def to_bson(self) -> dict[str, Any]:
        """As the `leases` collection holds it."""
        return asdict(self)


def own_identity() -> Identity:
    """This process: `host-pid-time-random`."""
    pid = os.getpid()
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    replica = f"{socket.gethostname()}-{pid}-{moment}-{secrets.token_hex(2)}"
    return Identity(replica, _kernel(), pid, _process_start(pid))


def is_dead(identity: Identity) -> bool:
    """True if the process ran on this kernel and is certainly gone; False if it lives or cannot be seen from here.

    The system tells of any process, even another user's, whether it exists. Only /proc tells whether it is the same
    process and no zombie, and may hide it from us (`hidepid`), so what /proc does not show is no sign of death.
    """
    kernel = _kernel()
    if not kernel or identity.kernel != kernel or not identity.started or identity.pid <= 0:
        return False
    try:
        os.kill(identity.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass  # another user's, and so there
    return _process_start(identity.pid) not in {identity.started, _UNKNOWN}


def _kernel() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
    return f"{boot} {namespace}"


def _process_start(pid: int) -> str:
    """The start time in clock ticks since boot (proc(5), stat field 22): `_UNKNOWN` where it cannot be read."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _UNKNOWN
    fields = stat.rpartition(")")[2].split()
    return _ENDED if fields[0] in {"Z", "X"} else fields[19]
