"""The rows of the settings table that concern backups: where they go, and how many are kept."""

from tsync_stream.settings import forms
from tsync_stream.settings.setting import Setting

BACKUPS = (
    Setting(
        "BACKUP_DIRECTORY",
        "",
        "backup.directory",
        forms.OPTIONAL_DIRECTORY,
        "where backups are written ([backups](backups.md)); it must exist",
    ),
    Setting(
        "BACKUP_TYPESENSE_PATH",
        "",
        "backup.typesense_path",
        forms.SERVER_PATH,
        "a folder on the Typesense server, in which each backup makes a snapshot; empty: no snapshots. Nothing deletes "
        "them there",
    ),
    Setting(
        "BACKUP_SCHEDULE",
        "",
        "backup.schedule",
        forms.CRON,
        "when the replica that captures makes a backup; empty: only `tsync backup` does",
    ),
    Setting(
        "BACKUP_KEEP",
        "7",
        "backup.keep",
        forms.whole_number(1, 10_000, of="backups"),
        "how many backups of this deployment are kept in BACKUP_DIRECTORY; older ones are deleted",
    ),
    Setting(
        "BACKUP_KEEP_FOR",
        "",
        "backup.keep_for_s",
        forms.OPTIONAL_AGE,
        "backups older than this are deleted too, except for the newest one; empty: any age",
    ),
)
