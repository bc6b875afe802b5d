"""Who may read and who may act: by token, address, host, and the site that a request comes from."""

from collections.abc import Mapping
from typing import Any

import pytest
from multidict import CIMultiDict

from tsync_stream.web.access import is_loopback, may_act, may_read

TOKEN = "a-token-of-16-characters"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}


def status(refusal: Any) -> int:
    return 200 if refusal is None else refusal.status


def read(headers: Mapping[str, str], *, token: str = TOKEN, bind: str = "127.0.0.1") -> int:
    return status(may_read(CIMultiDict({"Host": "localhost:6066"} | dict(headers)), token, bind))


def act(headers: Mapping[str, str], *, token: str = TOKEN) -> int:
    return status(may_act(CIMultiDict({"Host": "localhost:6066"} | dict(headers)), token))


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:6066", "127.0.0.1:6066", "127.3.2.1", "[::1]:6066", "LOCALHOST"]
)
def test_on_a_loopback_address_reading_needs_no_token(host: str) -> None:
    assert read({"Host": host}, token="") == 200
    assert read({"Host": host}) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "[", "192.0.2.7"]
)
def test_a_name_that_was_made_to_lead_here_reads_nothing(host: str) -> None:
    assert read({"Host": host}) == 401
    assert read({"Host": host}, token="") == 403
    assert read({"Host": host} | RIGHT) == 200


@pytest.mark.parametrize("name", ["X-Forwarded-For", "forwarded", "X-Real-IP", "Via"])
def test_what_a_proxy_forwards_is_not_local(name: str) -> None:
    assert read({name: "192.0.2.7"}) == 401


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1", "tsync.example", ""])
def test_beyond_this_machine_reading_needs_the_token(bind: str) -> None:
    assert read({}, bind=bind) == 401
    assert read({}, bind=bind, token="") == 403
    assert read(RIGHT, bind=bind) == 200


@pytest.mark.parametrize(
    "sent",
    [
        "Bearer wrong",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer é",
    ],
)
def test_a_wrong_token_lets_nobody_in_even_locally(sent: str) -> None:
    assert read({"Authorization": sent}) == 401
    assert act({"Authorization": sent} | JSON) == 401


def test_an_empty_token_is_none() -> None:
    assert read({"Authorization": "Bearer "}, token="", bind="0.0.0.0") == 401
    assert act({"Authorization": "Bearer "} | JSON, token="") == 403


def test_acting_needs_the_token_and_a_body_that_no_form_can_have() -> None:
    assert act(RIGHT | JSON) == 200
    assert act(RIGHT | {"Content-Type": "application/json; charset=utf-8"}) == 200
    assert act(JSON) == 401
    assert act(RIGHT) == 415
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert act(RIGHT | {"Content-Type": kind}) == 415


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:6066"}, 403),
        ({"Origin": "http://localhost:6066"}, 200),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        (
            {"Sec-Fetch-Site": "same-origin", "Origin": "https://tsync.example"},
            200,
        ),  # behind a proxy that rewrites Host
    ],
)
def test_another_site_may_neither_read_nor_act(headers: Mapping[str, str], expected: int) -> None:
    assert act(RIGHT | JSON | dict(headers)) == expected
    assert read(RIGHT | dict(headers)) == expected


def test_a_refusal_does_not_repeat_the_token() -> None:
    refusal = may_act(CIMultiDict({"Host": "localhost", "Authorization": "Bearer wrong-token"} | JSON), TOKEN)
    assert refusal is not None
    assert TOKEN not in refusal.text
    assert "wrong-token" not in refusal.text


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost.", True),
        ("::1", True),
        ("127.0.0.53", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("x", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected
