"""The rows of the settings table that concern routes, whether they come from a file or from the environment."""

from tsync_stream.settings import forms
from tsync_stream.settings.setting import Setting

ROUTES = (
    Setting(
        "ROUTES_FILE",
        "",
        "routes_file",
        forms.ROUTES_FILE,
        "the file that declares the routes; empty: `tsync.yaml` in the working directory, and if there is none, the "
        "one route that the other settings describe",
    ),
    Setting(
        "TRANSFORM_TIMEOUT",
        "1s",
        "transform_timeout_s",
        forms.duration("10ms", "1m"),
        "deadline of a route's `transform` for one document; a document that takes longer becomes a dead letter",
    ),
    Setting(
        "FAN_OUT_INLINE",
        "1000",
        "fan_out_inline",
        forms.whole_number(1, 100_000, of="documents"),
        "documents that a batch of changes in looked-up collections may refresh at once; more are left to a job",
    ),
)
