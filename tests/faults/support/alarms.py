"""What the verification in the background reported as different."""

from tests.faults.support.cluster import Cluster

_ALARM = "verification of route"


def alarms(cluster: Cluster) -> list[str]:
    """The lines of all replicas' logs that report a difference."""
    lines = (line for replica in cluster.replicas for line in replica.log().splitlines())
    return [line for line in lines if _ALARM in line and "ERROR" in line]
