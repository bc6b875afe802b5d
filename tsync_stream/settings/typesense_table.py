"""The rows of the settings table that concern Typesense: the server, its key, and how it is reached."""

from tsync_stream.settings import addresses, forms
from tsync_stream.settings.setting import Setting

TYPESENSE = (
    Setting(
        "TYPESENSE_API_KEY",
        "xyz",
        "typesense.api_key",
        forms.API_KEY,
        "a key that may read and write the collection, and create it if it is missing",
    ),
    Setting(
        "TYPESENSE_API_KEY_FILE",
        "",
        "typesense.api_key_file",
        forms.SECRET_FILE,
        "a file that holds TYPESENSE_API_KEY; a change is taken up within seconds",
    ),
    Setting(
        "TYPESENSE_HOST",
        "localhost",
        "typesense.hosts",
        addresses.HOSTS,
        "the server; several names are the nodes of one cluster",
    ),
    Setting("TYPESENSE_PORT", "8108", "typesense.port", forms.PORT, "its port, the same on every node"),
    Setting(
        "TYPESENSE_PROTOCOL",
        "http",
        "typesense.protocol",
        forms.choice("http", "https"),
        "its protocol, the same on every node",
    ),
    Setting(
        "TYPESENSE_TLS_CA_FILE",
        "",
        "typesense.tls.ca_file",
        forms.CA_FILE,
        "the only authorities that are trusted to sign its certificate; empty: SSL_CERT_FILE, SSL_CERT_DIR or certifi",
    ),
    Setting(
        "TYPESENSE_TLS_CERT_FILE",
        "",
        "typesense.tls.cert_file",
        forms.PEM_FILE,
        "our own certificate, for a proxy before Typesense that requires one; it may hold the key, too",
    ),
    Setting("TYPESENSE_TLS_KEY_FILE", "", "typesense.tls.key_file", forms.PEM_FILE, "the key of that certificate"),
    Setting(
        "TYPESENSE_TLS_VERIFY",
        "true",
        "typesense.tls.verify",
        forms.BOOLEAN,
        "whether its certificate and host name are checked; false lets anybody in between read and change everything",
    ),
    Setting(
        "TYPESENSE_COLLECTION_NAME",
        "listings",
        "typesense.collection_name",
        addresses.TYPESENSE_COLLECTION,
        "the collection to keep equal to the source",
    ),
    Setting(
        "TYPESENSE_CONNECTION_TIMEOUT",
        "5s",
        "typesense.connection_timeout_s",
        forms.duration("100ms", "10m"),
        "deadline of a whole request, from connecting to the last byte of the answer",
    ),
    Setting(
        "TYPESENSE_KEEPALIVE_TIMEOUT",
        "30s",
        "typesense.keepalive_timeout_s",
        forms.duration("1s", "1h"),
        "how long an idle connection stays open",
    ),
    Setting(
        "TYPESENSE_MAX_RATE",
        "0",
        "typesense.max_rate",
        forms.whole_number(0, 1_000_000, of="documents"),
        "documents a second that are written to Typesense or deleted there, at most, by all routes and replicas "
        "together ([details](performance.md#limits)); 0: no limit",
    ),
    Setting(
        "TYPESENSE_MAX_RETRIES",
        "3",
        "typesense.max_retries",
        forms.whole_number(1, 100, of="attempts"),
        "attempts to write a batch before its lane waits for Typesense to recover; no batch is ever dropped",
    ),
    Setting(
        "TYPESENSE_RETRY_BACKOFF",
        "100ms",
        "typesense.retry_backoff_s",
        forms.duration("1ms", "1m"),
        "pause after the first failed attempt; later pauses grow exponentially",
    ),
    Setting(
        "TYPESENSE_TRUST_PROXY_ENV",
        "false",
        "typesense.trust_proxy_env",
        forms.BOOLEAN,
        "reach Typesense through the proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name; it then sees the API key",
    ),
)
