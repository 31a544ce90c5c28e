"""Ephemeral keys of the realtime API."""

import pytest

from pykaldi_server.protocols import client_secrets
from pykaldi_server.protocols.client_secrets import ClientSecrets, api_key, is_client_secret, lifetime_s
from pykaldi_server.protocols.openai import RequestError
from pykaldi_server.protocols.realtime_settings import Settings

SETTINGS = Settings.default()


class Clock:
    now_s = 1000.5

    def __call__(self) -> float:
        return self.now_s


def test_a_key_is_found_until_it_expires() -> None:
    clock = Clock()
    secrets = ClientSecrets(clock)
    first, second = secrets.create(SETTINGS, 10), secrets.create(SETTINGS)
    assert is_client_secret(first.value)
    assert first.value != second.value
    assert (first.expires_at_s, second.expires_at_s) == (1010, 1600)
    assert secrets.find(first.value) == first
    clock.now_s = 1010
    assert secrets.find(first.value) is None
    assert secrets.find(second.value) == second
    assert secrets.find("ek_x") is None


def test_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_secrets, "MAX_SECRETS", 2)
    clock = Clock()
    secrets = ClientSecrets(clock)
    kept = [secrets.create(SETTINGS, 10), secrets.create(SETTINGS, 20)]
    with pytest.raises(RequestError, match="at most 2 client secrets") as refused:
        secrets.create(SETTINGS)
    assert refused.value.code == "rate_limit_exceeded"
    assert [secrets.find(each.value) for each in kept] == kept
    clock.now_s = 1010
    secrets.create(SETTINGS)
    assert secrets.find(kept[1].value) == kept[1]


@pytest.mark.parametrize(
    ("authorization", "subprotocols", "key"),
    [
        ("Bearer ek_1", (), "ek_1"),
        ("bearer  ek_1 ", (), "ek_1"),
        ("", ("realtime", "openai-insecure-api-key.ek_2", "openai-beta.realtime-v1"), "ek_2"),
        ("Bearer sk", ("openai-insecure-api-key.ek_2",), "sk"),
        ("Basic eA==", (), ""),
        ("", ("realtime",), ""),
    ],
)
def test_where_a_key_is(authorization: str, subprotocols: tuple[str, ...], key: str) -> None:
    assert api_key(authorization, subprotocols) == key


def test_how_long_a_key_is_valid() -> None:
    assert lifetime_s(None, "x") == lifetime_s({}, "x") == 600
    assert lifetime_s({"anchor": "created_at", "seconds": 10}, "x") == 10


@pytest.mark.parametrize(
    ("expiry", "param"),
    [
        ("soon", "x"),
        ({"anchor": "now"}, "x.anchor"),
        ({"seconds": 9}, "x.seconds"),
        ({"seconds": 7201}, "x.seconds"),
        ({"seconds": True}, "x.seconds"),
        ({"seconds": 60.5}, "x.seconds"),
    ],
)
def test_lifetimes_that_are_refused(expiry: object, param: str) -> None:
    with pytest.raises(RequestError, match=f"^{param}: expected .*, found") as refused:
        lifetime_s(expiry, "x")
    assert refused.value.param == param
