"""The address of the worker's pages: how people write it, and whether the worker can listen there.

Invariant: an address that is taken or invalid is found before anything starts, and the message names the setting.
"""

import errno
import os
import socket
from contextlib import closing

from tsync_stream.core.errors import ConfigurationError


def page_url(host: str, port: int) -> str:
    """The address as a URL (pure). IPv6 addresses get brackets, and their zone (`%eth0`) is escaped."""
    return f"http://[{host.replace('%', '%25')}]:{port}" if ":" in host else f"http://{host}:{port}"


def refuse_taken_address(host: str, port: int) -> None:
    """Raise `ConfigurationError` if nothing can listen there now. Nothing listens there afterwards either."""
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        raise ConfigurationError(f"WEB_BIND={host}: there is no host of that name") from None
    failures = [_failure(family, address) for family, *_, address in places]
    if errno.EADDRINUSE in failures:
        raise ConfigurationError(
            f"WEB_PORT={port}: another program listens on {page_url(host, port)} already; "
            "each replica on one machine needs a port of its own"
        )
    if all(failures):
        raise ConfigurationError(_reason(host, port, failures[0]))


def _failure(family: int, address: tuple[object, ...]) -> int:
    """The error's number, or 0. A host name may stand for several addresses, not all of them on this machine."""
    try:
        with closing(socket.socket(family, socket.SOCK_STREAM)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
    except OSError as error:
        return error.errno or errno.EINVAL
    return 0


def _reason(host: str, port: int, number: int) -> str:
    if number == errno.EADDRNOTAVAIL:
        return f"WEB_BIND={host}: this machine has no such address"
    if number in {errno.EACCES, errno.EPERM}:
        return f"WEB_PORT={port}: this user may not listen on it; choose one above 1023"
    return f"WEB_BIND={host}, WEB_PORT={port}: nobody can listen there ({os.strerror(number).lower()})"
