"""Whether another connection string leads to the same pipeline: asked before a running process takes it up.

Invariant: it changes nothing, and tells no part of the connection string.
"""

from tsync_stream.core.errors import ConfigurationError, TsyncError
from tsync_stream.settings.load import Settings
from tsync_stream.source.driver import command_client
from tsync_stream.source.errors import describe_mongo_error
from tsync_stream.state.database import state_database
from tsync_stream.state.pipeline import PositionStore

TIMEOUT_MS = 3_000


async def require_same_pipeline(settings: Settings, deployment: str | None) -> None:
    """Return if `settings` reach the state of this deployment; None: it is not known yet.

    Raises ConfigurationError with the reason if MongoDB does not answer, refuses us, or holds another deployment.
    """
    client = command_client(settings.mongo.uri, TIMEOUT_MS, TIMEOUT_MS)
    try:
        found = await PositionStore(state_database(client, settings.state_database)).load()
    except TsyncError as error:
        raise ConfigurationError(
            f"MONGODB_URI leads to no MongoDB that answers us ({describe_mongo_error(error)}); it is tried again"
        ) from error
    finally:
        client.close()
    if deployment is not None and (found is None or found.epoch.deployment != deployment):
        raise ConfigurationError(
            "MONGODB_URI leads to another MongoDB, which does not hold the state of this pipeline: to move, stop all "
            "replicas first"
        )
