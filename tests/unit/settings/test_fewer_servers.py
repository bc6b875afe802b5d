"""An empty host leaves a Redis out of the queue."""

from pathlib import Path

import pytest

from tsync_stream.settings.cautions import left_out
from tsync_stream.settings.load import load_settings


@pytest.mark.parametrize(
    ("empty", "used", "words"),
    [
        ((), ["primary", "backup"], ""),
        (("PRIMARY",), ["backup"], "PRIMARY_REDIS_HOST is empty: when the backup Redis fails, MongoDB is the queue"),
        (("BACKUP",), ["primary"], "BACKUP_REDIS_HOST is empty: when the primary Redis fails, MongoDB is the queue"),
        (("PRIMARY", "BACKUP"), [], "MongoDB alone is the queue"),
    ],
)
def test_a_redis_without_a_host_is_left_out_and_named(
    tmp_path: Path, empty: tuple[str, ...], used: list[str], words: str
) -> None:
    settings = load_settings(tmp_path, {f"{tier}_REDIS_HOST": "" for tier in empty})
    assert [redis.name for redis in settings.redis_tiers] == used
    assert words in left_out(settings)
    assert bool(left_out(settings)) == bool(words)


def test_two_hosts_must_be_two_queues_but_one_may_be_left_out(tmp_path: Path) -> None:
    same = {"BACKUP_REDIS_PORT": "6379", "BACKUP_REDIS_QUEUE_KEY": "typesense_sync_queue"}
    assert load_settings(tmp_path, {**same, "BACKUP_REDIS_HOST": ""}).backup_redis.host == ""
    with pytest.raises(Exception, match="name the same queue"):
        load_settings(tmp_path, same)
