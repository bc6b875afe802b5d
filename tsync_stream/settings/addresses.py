"""Forms of settings that name servers and what is on them: hosts, the MongoDB URI, databases, collections, queue keys.

Invariants: nothing is looked up in DNS or asked of a server. A URI is a secret: only `redacted_uri` may be shown.
"""

import ipaddress
import re
import ssl
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from tsync_stream.settings.forms import HIDDEN, Form, pattern
from tsync_stream.settings.tls import inspect_authorities, present_certificate

TYPESENSE_COLLECTION = pattern("a collection or alias name without spaces or slashes", r"[^\s/\x00-\x1f]+")
# The keys of a partition share a hash tag, so the prefix must not contain braces.
QUEUE_KEY = pattern("1 to 200 characters without spaces or braces", r"[^\s{}\x00-\x1f]{1,200}")


def _parse_host(text: str) -> str:
    host = text.strip()
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}", host):
        return host
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ipaddress.IPv6Address(bare))
    except ValueError:
        # The parser's own message would repeat the value.
        raise ValueError from None


HOST: Form[str] = Form("one host name or IP address, without protocol or port", _parse_host)
OPTIONAL_HOST: Form[str] = Form(
    f"{HOST.needs}, or nothing", lambda text: _parse_host(text) if text.strip() else "", example="redis.example.com"
)
HOSTS: Form[tuple[str, ...]] = Form(
    "host names or IP addresses, separated by commas, without protocol or port",
    lambda text: tuple(_parse_host(host) for host in text.split(",")),
    ",".join,
    example="search-1,search-2,search-3",
)


def _parse_database(text: str) -> str:
    if re.fullmatch(r'[^/\\. "$\x00-\x1f]+', text) is None or len(text.encode()) > 63:
        raise ValueError
    if text in {"admin", "config", "local"}:
        raise ValueError("MongoDB reserves it, and it has no change streams")
    return text


def _parse_collection(text: str) -> str:
    if re.fullmatch(r"[^.$\x00-\x1f\s]+(\.[^.$\x00-\x1f\s]+)*", text) is None:
        raise ValueError
    if text.startswith("system."):
        raise ValueError("MongoDB reserves system collections")
    return text


MONGODB_DATABASE: Form[str] = Form(
    'a database name: up to 63 bytes, without spaces or any of / \\ . " $', _parse_database
)
MONGODB_COLLECTION: Form[str] = Form(
    "a collection name: without spaces or $, and without dots at its ends or in a row", _parse_collection
)


def parse_mongodb_uri(text: str) -> str:
    """The URI, if it is well-formed. No name is resolved, not even that of a `mongodb+srv://` URI.

    Raises ValueError. PyMongo's own messages may repeat parts of a password, so they are not passed on.
    """
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in {"mongodb", "mongodb+srv"}:
        raise ValueError("it does not begin with mongodb:// or mongodb+srv://")
    if re.search(r"\s", text):
        raise ValueError("it contains a space or a line break")
    nodes = _parsed(text)["nodelist"]
    if scheme == "mongodb+srv" and (len(nodes) != 1 or nodes[0][1] is not None):
        raise ValueError("mongodb+srv:// takes one host name and no port")
    return text


def uri_options(uri: str) -> Mapping[str, Any]:
    """The options of a well-formed URI, by their names in the URI. Raises ValueError as `parse_mongodb_uri` does."""
    options: Mapping[str, Any] = _parsed(uri)["options"]  # whose names may be in upper or lower case
    return options


def _parsed(uri: str) -> dict[str, Any]:
    scheme, _, rest = uri.partition("://")
    try:
        with warnings.catch_warnings():
            # An unknown option is no error to the driver either: it warns when it connects.
            warnings.simplefilter("ignore")
            return parse_uri(f"mongodb://{_without_srv_options(scheme, rest)}", None, warn=True)
    except OSError:
        raise ValueError("a file named in its TLS options cannot be read") from None
    except (PyMongoError, ValueError):
        raise ValueError(
            "the driver cannot parse it; in a user name or password, : / ? # [ ] @ and % must be percent-encoded"
        ) from None


def inspect_uri_files(uri: str) -> None:
    """Return if the files that its TLS options name can be used. Raises ValueError with a reason."""
    options = uri_options(uri)
    ca_file, cert_file = options.get("tlsCAFile"), options.get("tlsCertificateKeyFile")
    try:
        inspect_authorities(Path(ca_file) if ca_file else None)
    except ValueError as error:
        raise ValueError(f"tlsCAFile: {error}") from None
    if cert_file:
        password = options.get("tlsCertificateKeyFilePassword") or ""
        try:
            present_certificate(ssl.create_default_context(), Path(cert_file), None, password)
        except ValueError as error:
            raise ValueError(f"tlsCertificateKeyFile: {error}") from None


def _without_srv_options(scheme: str, rest: str) -> str:
    """An SRV URI as an ordinary one, which the driver parses without DNS."""
    if scheme == "mongodb":
        return rest
    place, _, options = rest.partition("?")
    kept = [option for option in options.split("&") if option and not option.lower().startswith("srv")]
    return f"{place}?{'&'.join(kept)}" if kept else place


def redacted_uri(uri: str) -> str:
    """The URI without user, password and options, any of which may be secret."""
    scheme, _, rest = uri.partition("://")
    place, question_mark, _ = rest.partition("?")
    _, at, hosts = place.rpartition("@")
    return f"{scheme}://{HIDDEN + at if at else ''}{hosts}{question_mark + HIDDEN if question_mark else ''}"


MONGODB_URI: Form[str] = Form(
    "a connection string that begins with mongodb:// or mongodb+srv://",
    parse_mongodb_uri,
    redacted_uri,
    inspect=inspect_uri_files,
    secret=True,
)
