"""The names of a Redis tier's keys: `{queue key}:{deployment:epoch.nonce:partition}` and those beside it. Pure.

The second half is in braces in the key itself, so that the keys of a partition share a hash tag.
"""

from dataclasses import dataclass

from tsync_stream.core.model import EpochRef

# The consumer group of every stream.
GROUP = "tsync"


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """The keys under one `*_REDIS_QUEUE_KEY`."""

    queue_key: str

    def stream(self, epoch: EpochRef, partition: int) -> str:
        """A partition's stream."""
        return f"{self.queue_key}:{{{epoch.deployment}:{epoch.epoch}.{epoch.nonce}:{partition}}}"

    def head(self, epoch: EpochRef, partition: int) -> str:
        """The hash that the writer keeps: fence, last id, token."""
        return f"{self.stream(epoch, partition)}:head"

    def owner(self, epoch: EpochRef, partition: int) -> str:
        """The hash that the reader keeps: fence, the offset up to which everything is acked."""
        return f"{self.stream(epoch, partition)}:owner"

    def registry(self, epoch: EpochRef) -> str:
        """The set of this deployment's epochs that have, or may have, keys here."""
        return f"{self.queue_key}:{epoch.deployment}:epochs"
