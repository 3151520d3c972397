import base64
import json
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.settings.secret_text import MASK, SecretText, read_token_secret, why_password_is_guessable

GOOD = "hX2v.Zm9vYmFyYmF6cXV4kw81LpQe37Tn"


@given(st.binary(min_size=48, max_size=48))
def test_whatever_is_taken_is_kept_as_it_was_given(raw: bytes) -> None:
    """No letter of a secret is lost, and a refusal says how to make one without quoting what it refuses."""
    text = base64.b64encode(raw).decode()
    message = ""
    try:
        assert read_token_secret(text).reveal() == text
    except ValueError as refused:
        message = str(refused)
    assert text not in message
    assert not message or "openssl rand -base64 48" in message


@pytest.mark.parametrize("make", [lambda: secrets.token_urlsafe(48), lambda: secrets.token_hex(32)])
def test_what_machines_make_is_taken(make: object) -> None:
    """Of the usual commands' secrets none is refused: base64 and hexadecimal both pass."""
    assert callable(make)
    for _ in range(200):
        assert read_token_secret(make()).reveal()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "shorter"),
        (GOOD[:31], "shorter"),
        ("change-me-" + GOOD, "changeme"),
        ("My_Super_S.e.c.r.e.t-" + GOOD, "secret"),
        ("correct-horse-PassWord-battery-staple", "password"),
        ("qwertyuiopasdfghjklzxcvbnm1234567890", "qwerty"),
        ("bqgate-production-2026-11-24-eu-west1", "bqgate"),
        ("a" * 64, "fewer than"),
        ("0123012301230123012301230123012301", "fewer than"),
        ("3f9Kz-Lq81Pw" * 3, "repeats"),
        ("3f9Kz-Lq81Pw" * 3 + "3f9K", "repeats"),
        ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", "follow one another"),
        ("zyxwvutsrqponmlkjihgfedcba9876543210", "follow one another"),
        ("aabbccddeeffgghhiijjkkllmmnnooppqqrr", "follow one another"),
    ],
)
def test_what_can_be_guessed_is_refused(text: str, reason: str) -> None:
    """Placeholders, patterns and sequences are no secrets, however long; the message never quotes one."""
    with pytest.raises(ValueError, match=reason) as caught:
        read_token_secret(text)
    assert "openssl rand -base64 48" in str(caught.value)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("value", [None, 5, True, 10**40, ["x" * 40]])
def test_a_secret_is_text(value: object) -> None:
    """A number of YAML would lose its leading zeros."""
    with pytest.raises(ValueError, match="text in quotes"):
        read_token_secret(value)


def test_a_secret_never_shows_itself() -> None:
    """Neither str, repr, format nor a traceback's locals give it away; reveal does."""
    secret = read_token_secret(GOOD)
    assert f"{secret}" == str(secret) == MASK
    assert GOOD not in repr(secret)
    assert GOOD not in json.dumps({"secret": str(secret)})
    assert secret.reveal() == GOOD
    assert secret == SecretText(GOOD)


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [
        ("bqgate", "bqgate", "the user's name"),
        ("ledger-writer", "Ledger-Writer", "the user's name"),
        ("bqgate", "postgres", "everybody tries"),
        ("", "foobared", "everybody tries"),
        ("bqgate", "Change-Me", "everybody tries"),
        ("bqgate", "Passw0rd123", "everybody tries"),
        ("bqgate", "k3Xz9q", "shorter than 8"),
    ],
)
def test_a_password_that_everybody_tries_is_none(user: str, password: str, reason: str) -> None:
    """Names, placeholders and what manuals have, whatever is put behind them; the reason never quotes it."""
    said = why_password_is_guessable(user, password)
    assert said is not None
    assert reason in said
    assert password not in said


def test_what_machines_make_is_a_password() -> None:
    """Of the usual commands' passwords none is refused."""
    for _ in range(200):
        for made in (secrets.token_urlsafe(12), secrets.token_hex(8)):
            assert why_password_is_guessable("bqgate", made) is None
