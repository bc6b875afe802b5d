"""What a verification that repairs says about a collection (pure); `Tally` in `jobs/compare.py` makes its numbers."""

from collections.abc import Mapping
from typing import Any

from tsync_stream.state.jobs import Job


def differences_in(result: Mapping[str, Any]) -> int:
    """How many documents were not shown as they should be, before they were synced again."""
    return int(result["missing"] + result["different"] + result["extra"])


def not_repaired(result: Mapping[str, Any]) -> str:
    """What a verification found and could not repair; "" if there is no such thing."""
    if result["left"]:
        return (
            f"it shows {result['left']} documents that the source does not have; deleting so many would exceed "
            "MASS_DELETE_SHARE"
        )
    if result["unseen"]:
        return "it shows too many documents that the source does not have to examine all of them"
    if result["foreign"]:
        return f"it shows {result['foreign']} documents with ids that no document of the source can have"
    return ""


def why_not_verified(job: Job) -> str:
    """Why a verification that has ended is not done."""
    if job.status == "cancelled":
        return "its verification was cancelled"
    return f"its verification failed: {(job.result or {}).get('error', 'no reason is stored')}"
