"""The HTTP clients that talk to Typesense: all of them are made here.

Invariants: either no client uses a proxy from the environment, or with TYPESENSE_TRUST_PROXY_ENV all of them do. A
proxy sees the API key; and if only some requests went through it, some could fail while others succeed. Whose
certificates are trusted depends on TYPESENSE_TLS_CA_FILE, SSL_CERT_FILE and SSL_CERT_DIR alone.
"""

from collections.abc import Sequence

import aiohttp
import httpx
from typesense.async_.client import AsyncClient

from tsync_stream.settings.load import TypesenseSettings
from tsync_stream.settings.tls import client_context

MAX_CONNECTIONS = 20
KEY_HEADER = "X-TYPESENSE-API-KEY"


def http_client(settings: TypesenseSettings, deadline_s: float, base_url: str = "") -> httpx.AsyncClient:
    """A client for rare requests."""
    return httpx.AsyncClient(
        base_url=base_url,
        headers={KEY_HEADER: settings.api_key},
        timeout=deadline_s,
        limits=httpx.Limits(keepalive_expiry=settings.keepalive_timeout_s),
        trust_env=settings.trust_proxy_env,
        verify=client_context(settings.tls) if settings.protocol == "https" else False,
    )


def http_session(
    settings: TypesenseSettings, middlewares: Sequence[aiohttp.ClientMiddlewareType]
) -> aiohttp.ClientSession:
    """A session for the data path, where each call has its own deadline, and sends the key itself: it may change."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=MAX_CONNECTIONS,
            keepalive_timeout=settings.keepalive_timeout_s,
            ssl=client_context(settings.tls) if settings.protocol == "https" else True,
        ),
        headers={"Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=middlewares,
        trust_env=settings.trust_proxy_env,
    )


def api_clients(settings: TypesenseSettings, http: httpx.AsyncClient) -> list[AsyncClient]:
    """One client of the `typesense` package per node: given all nodes, it would use another one for each call."""
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
