"""What is valid, and yet a person should know it: certificates that nobody checks, Redis servers left out (pure).

Each was chosen by a setting of its own; `check` and the log of a start name it.
"""

from tsync_stream.settings.addresses import uri_options
from tsync_stream.settings.load import Settings

_OF_THE_URI = ("tlsInsecure", "tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames")
_DANGER = "anybody in between can read and change what is sent"


def unverified(settings: Settings) -> dict[str, str]:
    """A sentence for each such server, by the name that `check` gives it."""
    found = {}
    options = uri_options(settings.mongo.uri)
    if names := [name for name in _OF_THE_URI if options.get(name)]:
        what = "host name" if names == ["tlsAllowInvalidHostnames"] else "certificate"
        found["MongoDB"] = f"MONGODB_URI ({', '.join(names)}): the server's {what} is not checked, so {_DANGER}"
    for redis in settings.redis_tiers:
        if redis.use_tls and not redis.tls.verify:
            found[f"Redis ({redis.name})"] = (
                f"{redis.name.upper()}_REDIS_TLS_VERIFY=false: the server's certificate is not checked, so {_DANGER}"
            )
    if settings.typesense.protocol == "https" and not settings.typesense.tls.verify:
        found["Typesense"] = f"TYPESENSE_TLS_VERIFY=false: the server's certificate is not checked, so {_DANGER}"
    return found


def left_out(settings: Settings) -> str:
    """What it means that a Redis is left out; "" if none is."""
    used = [redis.name for redis in settings.redis_tiers]
    if not used:
        return (
            "PRIMARY_REDIS_HOST and BACKUP_REDIS_HOST are empty: MongoDB alone is the queue, at the cost of several "
            "writes to it for each batch of changes"
        )
    if len(used) == 1:
        name = "BACKUP_REDIS_HOST" if used == ["primary"] else "PRIMARY_REDIS_HOST"
        return f"{name} is empty: when the {used[0]} Redis fails, MongoDB is the queue until it is back"
    return ""
