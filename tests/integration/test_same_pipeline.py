"""A connection string that a running process may take up leads to the state of the same pipeline."""

from pathlib import Path

import pytest
from bson.timestamp import Timestamp

from tests.integration.conftest import Database
from tests.support.stack import Names
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.model import EpochRef, Position
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.settings.load import load_settings
from tsync_stream.state.pipeline import Pipeline, PositionStore
from tsync_stream.state.same_pipeline import require_same_pipeline


async def test_only_the_state_of_this_deployment_is_the_same_pipeline(
    stack: EmbeddedStack, mongo_names: Names, state: Database
) -> None:
    given = {"MONGODB_URI": stack.mongo.uri, "STATE_DATABASE": mongo_names.state_database}
    settings = load_settings(Path("/nowhere"), given)
    await require_same_pipeline(settings, None)  # before the first start there is none
    with pytest.raises(ConfigurationError, match="another MongoDB"):
        await require_same_pipeline(settings, "d1")
    began = Position({"_data": "00"}, Timestamp(1, 1))
    epoch = EpochRef("d1", 1, "n1", "primary")
    await PositionStore(state).create(
        Pipeline(epoch=epoch, capture_fence=1, partitions=8, began=began, captured=began, routes={})
    )
    await require_same_pipeline(settings, "d1")
    with pytest.raises(ConfigurationError, match="another MongoDB"):
        await require_same_pipeline(settings, "d2")
    nowhere = load_settings(Path("/nowhere"), {**given, "MONGODB_URI": "mongodb://somebody:s3cret@127.0.0.1:1"})
    with pytest.raises(ConfigurationError, match="no MongoDB that answers us") as refused:
        await require_same_pipeline(nowhere, "d1")
    assert "s3cret" not in str(refused.value)
