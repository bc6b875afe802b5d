"""Who may read and who may act through the API (pure).

Reading needs API_TOKEN unless the pages are bound to a loopback address; acting always does. Invariants:

- A token that is sent is checked, whatever the address: nobody is let in with a wrong one.
- Without a token only a browser or program that names a loopback host itself is let in. A site whose name is made to
  resolve to 127.0.0.1 (DNS rebinding) sends its own name, and a proxy in front of us says that it forwards.
- What a page of another site sends is refused, even with the right token.
- Tokens are compared in constant time, and appear in no answer.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_SCHEME = "bearer "
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")

NO_TOKEN = "API_TOKEN is not set. Set it, 16 characters or more, and start the replica again"  # noqa: S105 - no secret


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused: the status of the answer, and a sentence for people."""

    status: int
    text: str


def may_read(headers: Mapping[str, str], token: str, bind: str) -> Refusal | None:
    """None if this request may read. `bind` is the address that we listen on, empty for a socket file."""
    if (foreign := _from_another_site(headers)) is not None:
        return foreign
    if "Authorization" in headers:
        return _checked(headers, token)
    if is_loopback(bind) and is_loopback(_host_of(headers.get("Host", ""))):
        if not any(name in headers for name in _FORWARDED):
            return None
        return Refusal(401, "A request that a proxy forwards needs API_TOKEN")
    if not token:
        return Refusal(403, f"The dashboard shows nothing beyond this machine while {NO_TOKEN}.")
    return Refusal(401, "API_TOKEN is needed")


def may_act(headers: Mapping[str, str], token: str) -> Refusal | None:
    """None if this request may change something."""
    if (foreign := _from_another_site(headers)) is not None:
        return foreign
    if not token:
        return Refusal(403, f"Nothing can be changed here while {NO_TOKEN}.")
    if (refusal := _checked(headers, token)) is not None:
        return refusal
    # A form of another site cannot have this type, and a script of one would have to ask for permission.
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        return Refusal(415, "The body must be application/json")
    return None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine, and reachable from it alone."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _host_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _checked(headers: Mapping[str, str], token: str) -> Refusal | None:
    given = headers.get("Authorization", "")
    if not given.lower().startswith(_SCHEME):
        return Refusal(401, "API_TOKEN is needed")
    if not token or not hmac.compare_digest(given[len(_SCHEME) :].strip().encode(), token.encode()):
        return Refusal(401, "This is not the API_TOKEN of this replica")
    return None


def _from_another_site(headers: Mapping[str, str]) -> Refusal | None:
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site is not None:
        ours = site in {"same-origin", "none"}
    else:
        ours = origin is None or urlsplit(origin).netloc == headers.get("Host", "")
    return None if ours else Refusal(403, "Requests from other sites are refused")
