"""How to fix what `check` finds wrong with TLS, in the words of one server's settings (pure)."""

from dataclasses import dataclass

from tsync_stream.core import causes
from tsync_stream.settings.load import RedisSettings


@dataclass(frozen=True, slots=True)
class TlsNames:
    """What the settings of a server are called: where it is, its authorities, our own certificate, the switch."""

    host: str
    authorities: str
    certificate: str
    switch: str


OF_MONGODB = TlsNames("the host in MONGODB_URI", "tlsCAFile in MONGODB_URI", "tlsCertificateKeyFile in it", "tls")
OF_TYPESENSE = TlsNames(
    "TYPESENSE_HOST",
    "TYPESENSE_TLS_CA_FILE",
    "TYPESENSE_TLS_CERT_FILE and TYPESENSE_TLS_KEY_FILE",
    "TYPESENSE_PROTOCOL",
)


def of_redis(settings: RedisSettings) -> TlsNames:
    """The names of one Redis."""
    prefix = f"{settings.name.upper()}_REDIS"
    own = f"{prefix}_TLS_CERT_FILE and {prefix}_TLS_KEY_FILE"
    return TlsNames(f"{prefix}_HOST", f"{prefix}_TLS_CA_FILE", own, f"{prefix}_TLS")


def tls_fix(cause: str, names: TlsNames) -> str:
    """What to do about a cause that is about TLS; "" for any other."""
    if cause in {causes.UNTRUSTED, causes.NO_CERTIFICATE}:
        return f"set {names.authorities} to a file with the certificate of the authority that signed it"
    fixes = {
        causes.EXPIRED: "renew the server's certificate",
        causes.OTHER_NAME: f"set {names.host} to a name that its certificate is for, or issue one for this name",
        causes.WANTS_CERTIFICATE: f"set {names.certificate}",
        causes.OTHER_CLIENT_AUTHORITY: f"correct {names.certificate}, or make the server trust who signed it",
        causes.NO_TLS: f"name the port that speaks TLS, or switch it off with {names.switch}",
        causes.NO_HANDSHAKE: "look for the cause in the server's log: its TLS version or ciphers may be too old",
    }
    return fixes.get(cause, "")
