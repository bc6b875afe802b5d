"""Where the worker's pages are: the address for people, and whether it can be had.

Invariant: an address that cannot be had is found out before anything is started, and told with the setting's name.
"""

import errno
import os
import socket
from contextlib import closing

from tsync_stream.core.errors import ConfigurationError


def page_url(host: str, port: int) -> str:
    """The address to type (pure). IPv6 addresses are in brackets, and their zone (`%eth0`) is escaped."""
    return f"http://[{host.replace('%', '%25')}]:{port}" if ":" in host else f"http://{host}:{port}"


def refuse_taken_address(host: str, port: int) -> None:
    """Raises `ConfigurationError` if nobody could listen there now; nobody does afterwards."""
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
    """The number of the error, or 0. A name may lead to addresses of which only some exist here."""
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
