"""Every HTTP client of ours that talks to Typesense is made here.

Invariants: no proxy is taken from the environment unless TYPESENSE_TRUST_PROXY_ENV says so, and then by all of them:
a proxy sees the API key, and where some requests take it and others do not, one may answer while the other cannot.
Which authorities are trusted is another matter: SSL_CERT_FILE and SSL_CERT_DIR count always.
"""

import ssl
from collections.abc import Sequence

import aiohttp
import httpx
from typesense.async_.client import AsyncClient

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.settings.load import TypesenseSettings

MAX_CONNECTIONS = 20
KEY_HEADER = "X-TYPESENSE-API-KEY"


def http_client(settings: TypesenseSettings, deadline_s: float, base_url: str = "") -> httpx.AsyncClient:
    """For what is asked seldom."""
    return httpx.AsyncClient(
        base_url=base_url,
        headers={KEY_HEADER: settings.api_key},
        timeout=deadline_s,
        limits=httpx.Limits(keepalive_expiry=settings.keepalive_timeout_s),
        trust_env=settings.trust_proxy_env,
        verify=_authorities() if settings.protocol == "https" else False,
    )


def http_session(
    settings: TypesenseSettings, middlewares: Sequence[aiohttp.ClientMiddlewareType]
) -> aiohttp.ClientSession:
    """For the calls that are made all the time, each with a deadline of its own."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=MAX_CONNECTIONS,
            keepalive_timeout=settings.keepalive_timeout_s,
            ssl=_authorities() if settings.protocol == "https" else True,
        ),
        headers={KEY_HEADER: settings.api_key, "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=middlewares,
        trust_env=settings.trust_proxy_env,
    )


def api_clients(settings: TypesenseSettings, http: httpx.AsyncClient) -> list[AsyncClient]:
    """A client of the `typesense` package for each node: given all of them, it would go to another at every call."""
    return [
        AsyncClient(
            {
                "nodes": [
                    {"host": f"[{host}]" if ":" in host else host, "port": settings.port, "protocol": settings.protocol}
                ],
                "api_key": settings.api_key,
                "connection_timeout_seconds": settings.connection_timeout_s,
                "num_retries": 0,
            },
            http_client=http,
        )
        for host in settings.hosts
    ]


def _authorities() -> ssl.SSLContext:
    """Those of SSL_CERT_FILE or SSL_CERT_DIR, otherwise those that certifi lists, for all clients alike."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        problem = "SSL_CERT_FILE or SSL_CERT_DIR: no certificates can be read there"
        raise ConfigurationError(f"{problem} ({type(error).__name__})") from error
