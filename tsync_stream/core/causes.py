"""Why a server could not be reached or trusted, in words for people.

Drivers wrap the system's error several times; MongoDB's has only a text, which mentions every member of the set.
Invariant: the result is one of the texts below or the system's own name of an error number. It never contains a secret
or anything that a server sent.
"""

import os
import socket
import ssl

UNKNOWN = "the connection failed"
NO_SUCH_HOST = "there is no host of that name"
NO_NAMES_NOW = "host names cannot be resolved at the moment"
REFUSED = "connection refused"
CLOSED = "the connection was closed"
TOO_LONG = "it took too long"
EXPIRED = "its TLS certificate has expired"
OTHER_NAME = "its TLS certificate is for another host name"
UNTRUSTED = "its TLS certificate is not signed by an authority trusted here"
NO_CERTIFICATE = "its TLS certificate is not accepted"
NO_TLS = "it does not speak TLS"
WANTS_CERTIFICATE = "it requires a client certificate"
OTHER_CLIENT_AUTHORITY = "it does not accept our client certificate"
NO_HANDSHAKE = "the TLS handshake failed"
NO_PRIMARY = "the replica set has no primary now"
OTHER_SET = "none of these servers belongs to the named replica set"
TLS_CAUSES = frozenset({EXPIRED, OTHER_NAME, UNTRUSTED, NO_CERTIFICATE, NO_TLS, NO_HANDSHAKE})
CLIENT_CERTIFICATE_CAUSES = frozenset({WANTS_CERTIFICATE, OTHER_CLIENT_AUTHORITY})
AUTHORITY_CAUSES = frozenset({UNTRUSTED, NO_CERTIFICATE})

# Members may fail for different reasons. The first match counts: causes that a person must fix precede transient ones.
_SYMPTOMS = (
    ("certificate has expired", EXPIRED),
    ("Hostname mismatch", OTHER_NAME),
    ("IP address mismatch", OTHER_NAME),
    ("self-signed certificate", UNTRUSTED),
    ("self signed certificate", UNTRUSTED),
    ("unable to get local issuer", UNTRUSTED),
    ("unable to get issuer", UNTRUSTED),
    ("unable to verify the first", UNTRUSTED),
    ("CERTIFICATE_VERIFY_FAILED", NO_CERTIFICATE),
    ("CERTIFICATE_REQUIRED", WANTS_CERTIFICATE),
    ("certificate required", WANTS_CERTIFICATE),
    ("ALERT_UNKNOWN_CA", OTHER_CLIENT_AUTHORITY),
    ("alert unknown ca", OTHER_CLIENT_AUTHORITY),
    ("ALERT_BAD_CERTIFICATE", OTHER_CLIENT_AUTHORITY),
    ("ALERT_CERTIFICATE_EXPIRED", OTHER_CLIENT_AUTHORITY),
    ("WRONG_VERSION_NUMBER", NO_TLS),
    ("RECORD_LAYER_FAILURE", NO_TLS),
    ("SSL handshake failed", NO_HANDSHAKE),
    ("No replica set members found", OTHER_SET),
    ("No replica set members available", OTHER_SET),
    ("Name or service not known", NO_SUCH_HOST),
    ("nodename nor servname", NO_SUCH_HOST),
    ("No address associated", NO_SUCH_HOST),
    ("Temporary failure in name resolution", NO_NAMES_NOW),
    ("Connection refused", REFUSED),
    ("No route to host", "no route to host"),
    ("Network is unreachable", "network is unreachable"),
    ("timed out", TOO_LONG),
    ("connection closed", CLOSED),
    ("closed by server", CLOSED),
    ("No primary available", NO_PRIMARY),
    ('match selector "Primary()"', NO_PRIMARY),
)


def cause_of(error: BaseException) -> str:
    """A few words for a failed connection; the innermost error that is recognized wins."""
    words = ""
    link: BaseException | None = error
    while link is not None:
        words = _words(link) or words
        # A group has one error for each address of a host name.
        link = link.exceptions[0] if isinstance(link, BaseExceptionGroup) else link.__cause__ or link.__context__
    return words or UNKNOWN


def cause_in_text(error: BaseException) -> str:
    """The same for a driver whose error is only a text."""
    return _symptom(str(error)) or cause_of(error)


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
        return ""  # nothing has failed yet: a handshake waited for the other side when it was cut off
    if isinstance(error, ssl.SSLError):
        return _symptom(f"{getattr(error, 'reason', '')} {error}") or NO_HANDSHAKE
    if isinstance(error, socket.gaierror):
        return NO_NAMES_NOW if error.errno == socket.EAI_AGAIN else NO_SUCH_HOST
    if isinstance(error, ConnectionRefusedError):
        return REFUSED
    if isinstance(error, ConnectionResetError | BrokenPipeError | EOFError) or "closed by server" in str(error):
        return CLOSED
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return TOO_LONG
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return ""


def _symptom(text: str) -> str:
    return next((words for symptom, words in _SYMPTOMS if symptom in text), "")
