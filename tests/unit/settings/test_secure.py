"""TLS settings and secrets from files: what is wrong is listed at the start, and no secret is in any text."""

from pathlib import Path

import pytest
import trustme

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.settings import load
from tsync_stream.settings.cautions import unverified
from tsync_stream.settings.load import Settings, load_settings, with_servers
from tsync_stream.settings.secrets import Secret
from tsync_stream.settings.tls import client_context

SECRET = "s3cret-of-16-characters"
AUTHORITY = trustme.CA()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with an authority (`ca.pem`), and two certificates of its own with their keys."""
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("client", "other"):
        issued = AUTHORITY.issue_cert(f"{name}.example.com")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}-both.pem")
    (tmp_path / "empty.pem").touch()
    return tmp_path


def problems_of(directory: Path, **environment: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(directory, environment)
    return caught.value.problems


# ---- secrets in files ----

SECRETS = {
    "MONGODB_URI": f"mongodb://user:{SECRET}@db/?replicaSet=rs0",
    "TYPESENSE_API_KEY": SECRET,
    "PRIMARY_REDIS_PASSWORD": SECRET,
    "BACKUP_REDIS_PASSWORD": SECRET,
    "API_TOKEN": SECRET,
}


def secrets_of(settings: Settings) -> dict[str, str]:
    return {
        "MONGODB_URI": settings.mongo.uri,
        "TYPESENSE_API_KEY": settings.typesense.api_key,
        "PRIMARY_REDIS_PASSWORD": settings.primary_redis.password,
        "BACKUP_REDIS_PASSWORD": settings.backup_redis.password,
        "API_TOKEN": settings.api_token,
    }


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_every_secret_may_come_from_a_file_with_or_without_a_line_break(tmp_path: Path, end: str) -> None:
    for name, text in SECRETS.items():
        (tmp_path / name).write_bytes(f"{text}{end}".encode())
    settings = load_settings(tmp_path, {f"{name}_FILE": name for name in SECRETS})
    assert secrets_of(settings) == SECRETS
    assert SECRET not in f"{settings!r} {settings.describe()}"


def test_a_secret_that_is_given_twice_names_both_settings(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    for name, text in SECRETS.items():
        assert problems_of(tmp_path, **{name: text, f"{name}_FILE": "secret"})[0] == (
            f"{name} and {name}_FILE are both set: leave one of them out"
        )
    # A template may leave an empty variable in place.
    settings = load_settings(tmp_path, {"TYPESENSE_API_KEY": "", "TYPESENSE_API_KEY_FILE": "secret"})
    assert settings.typesense.api_key == SECRET


def test_what_is_wrong_with_secret_files_is_listed_at_once_and_without_their_content(tmp_path: Path) -> None:
    (tmp_path / "spaces").write_text(f"{SECRET} {SECRET}")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    problems = problems_of(
        tmp_path,
        MONGODB_URI_FILE="spaces",
        TYPESENSE_API_KEY_FILE="missing",
        PRIMARY_REDIS_PASSWORD_FILE="empty",
        BACKUP_REDIS_PASSWORD_FILE="binary",
    )
    assert len(problems) == 4
    for name, reason in (
        ("MONGODB_URI_FILE", "MONGODB_URI needs a connection string"),
        ("TYPESENSE_API_KEY_FILE", "there is no such file"),
        ("PRIMARY_REDIS_PASSWORD_FILE", "the file is empty"),
        ("BACKUP_REDIS_PASSWORD_FILE", "not a UTF-8 text file"),
    ):
        (problem,) = (problem for problem in problems if problem.startswith(name))
        assert reason in problem
    assert SECRET not in str(problems)


def test_a_file_that_changes_changes_the_secret_unless_it_holds_none(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("first\n")
    secret = Secret("TYPESENSE_API_KEY", "first", path)
    assert not secret.look()
    path.write_text("second\n")
    assert secret.look()
    assert list(secret.candidates) == ["second", "first"]
    for text in ("", "with spaces"):
        path.write_text(text)
        assert not secret.look()
        assert secret.problem
        assert secret.value == "second"
    path.unlink()
    assert not secret.look()
    assert secret.problem == "there is no such file"
    path.write_text("second")
    assert not secret.look()
    assert not secret.problem
    assert "second" not in repr(secret)


def test_the_embedded_servers_take_no_secret_from_a_file_and_speak_no_tls(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "secret").write_text(SECRET)
    monkeypatch.chdir(files)
    for name, text in {
        "TYPESENSE_API_KEY_FILE": "secret",
        "TYPESENSE_PROTOCOL": "https",
        "TYPESENSE_TLS_CA_FILE": "ca.pem",
        "PRIMARY_REDIS_TLS": "true",
        "PRIMARY_REDIS_TLS_CA_FILE": "ca.pem",
        "PRIMARY_REDIS_USERNAME": "tsync",
    }.items():
        monkeypatch.setenv(name, text)
    own = {"TYPESENSE_API_KEY": "embedded", "TYPESENSE_PROTOCOL": "http", "PRIMARY_REDIS_PASSWORD": ""}
    settings = with_servers(load.load_settings(), own)
    assert settings.typesense.api_key == "embedded"
    assert settings.typesense.tls.ca_file is None
    assert (settings.primary_redis.use_tls, settings.primary_redis.username) == (False, "")


# ---- TLS ----

PREFIXES = {
    "PRIMARY_REDIS": {"PRIMARY_REDIS_TLS": "true"},
    "BACKUP_REDIS": {"BACKUP_REDIS_TLS": "true"},
    "TYPESENSE": {"TYPESENSE_PROTOCOL": "https"},
}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_files_of_our_own_are_used(files: Path, prefix: str) -> None:
    for own in ({"CERT_FILE": "client.pem", "KEY_FILE": "client.key"}, {"CERT_FILE": "client-both.pem"}):
        given = {f"{prefix}_TLS_{name}": file for name, file in {"CA_FILE": "ca.pem", **own}.items()}
        settings = load_settings(files, {**PREFIXES[prefix], **given})
        tls = {
            "PRIMARY_REDIS": settings.primary_redis.tls,
            "BACKUP_REDIS": settings.backup_redis.tls,
            "TYPESENSE": settings.typesense.tls,
        }[prefix]
        context = client_context(tls)
        assert context.check_hostname
        assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"CA_FILE": "missing.pem"}, "cannot be read"),
        ({"CA_FILE": "empty.pem"}, "holds no certificate"),
        ({"CERT_FILE": "client.pem"}, "no certificate with its key"),
        ({"CERT_FILE": "client.pem", "KEY_FILE": "other.key"}, "the key is not that of the certificate"),
        ({"CERT_FILE": "missing.pem", "KEY_FILE": "client.key"}, "cannot be read"),
        ({"KEY_FILE": "client.key"}, "without"),
        ({"CA_FILE": "ca.pem", "VERIFY": "false"}, "has no effect with"),
    ],
)
def test_files_that_cannot_be_used_are_a_problem_of_their_setting(
    files: Path, prefix: str, given: dict[str, str], reason: str
) -> None:
    problems = problems_of(files, **PREFIXES[prefix], **{f"{prefix}_TLS_{name}": text for name, text in given.items()})
    assert len(problems) == 1, problems
    assert reason in problems[0]
    assert f"{prefix}_TLS_{next(iter(given))}" in problems[0]


@pytest.mark.parametrize(("prefix", "switch"), [(prefix, next(iter(on.items()))) for prefix, on in PREFIXES.items()])
def test_tls_settings_without_tls_are_a_problem_since_a_password_would_travel_in_the_clear(
    files: Path, prefix: str, switch: tuple[str, str]
) -> None:
    (problem,) = problems_of(files, **{f"{prefix}_TLS_CA_FILE": "ca.pem"})
    assert f"{prefix}_TLS_CA_FILE has no effect without TLS: set {switch[0]}={switch[1]}" in problem


def test_the_files_of_the_mongodb_uri_are_tried(files: Path) -> None:
    for options, reason in (
        (f"tlsCAFile={files}/empty.pem", "tlsCAFile: the file holds no certificate"),
        (f"tlsCAFile={files}/missing.pem", "cannot be read"),
        (f"tlsCertificateKeyFile={files}/client.pem", "tlsCertificateKeyFile: no certificate with its key"),
    ):
        (problem,) = problems_of(files, MONGODB_URI=f"mongodb://a/?tls=true&{options}")
        assert reason in problem
    usable = f"mongodb://a/?tls=true&tlsCAFile={files}/ca.pem&tlsCertificateKeyFile={files}/client-both.pem"
    assert load_settings(files, {"MONGODB_URI": usable}).mongo.uri == usable


def test_every_certificate_that_is_not_checked_is_named(files: Path) -> None:
    assert unverified(load_settings(files, {})) == {}
    settings = load_settings(
        files,
        {
            "MONGODB_URI": "mongodb://a/?tls=true&tlsAllowInvalidCertificates=true",
            "TYPESENSE_PROTOCOL": "https",
            "TYPESENSE_TLS_VERIFY": "false",
            "PRIMARY_REDIS_TLS": "true",
            "PRIMARY_REDIS_TLS_VERIFY": "false",
            "BACKUP_REDIS_TLS": "true",
        },
    )
    found = unverified(settings)
    assert {name: text.partition(":")[0] for name, text in found.items()} == {
        "MongoDB": "MONGODB_URI (tlsAllowInvalidCertificates)",
        "Redis (primary)": "PRIMARY_REDIS_TLS_VERIFY=false",
        "Typesense": "TYPESENSE_TLS_VERIFY=false",
    }
    assert not client_context(settings.primary_redis.tls).check_hostname
