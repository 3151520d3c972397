"""Hold a secret that never shows itself, and refuse one that somebody could guess.

The type of identity.token_secret, which signs the gate's access tokens: who knows it is everybody. What is wrong with a
secret is said without quoting it. A guess is cheap, because any token that the gate ever signed tells whether it was
right, so that only secrets made by a machine are taken. Of passwords, which a server checks one by one, only those are
refused that everybody tries first.
"""

import re
from dataclasses import dataclass, field
from itertools import pairwise

MASK = "*****"

SECRET_LENGTH_MIN = 32
_DISTINCT_MIN = 10

# Letters and digits only, small. Of some million random secrets of 64 base64 digits one holds one of these.
_WORDS_EVERYBODY_TRIES = (
    "changeme",
    "replaceme",
    "secret",
    "password",
    "passw0rd",
    "passphrase",
    "placeholder",
    "example",
    "default",
    "letmein",
    "qwerty",
    "asdfgh",
    "zxcvbn",
    "bqgate",
    "bigquery",
    "insertyour",
    "yourkey",
    "yourtoken",
)

# What images and manuals of databases have, beside the words above.
_PASSWORDS_OF_MANUALS = frozenset(
    {"admin", "foobared", "guest", "mypassword", "mysecretpassword", "pass", "postgres", "postgresql", "redis", "root"}
)
_PASSWORD_LENGTH_MIN = 8

_MAKE_ONE = "make one: openssl rand -base64 48"


@dataclass(frozen=True, slots=True)
class SecretText:
    """A secret. Only `reveal` shows it; printing it gives a mask."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        """The secret as it was given, for the one who signs with it."""
        return self._text

    def __str__(self) -> str:
        return MASK


def read_token_secret(value: object) -> SecretText:
    """A secret that nobody can guess."""
    if isinstance(value, SecretText):
        return value
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotes; {_MAKE_ONE}")
    if len(value) < SECRET_LENGTH_MIN:
        raise ValueError(f"is shorter than {SECRET_LENGTH_MIN} characters; {_MAKE_ONE}")
    reason = _why_guessable(value)
    if reason is not None:
        raise ValueError(f"can be guessed: {reason}; {_MAKE_ONE}")
    return SecretText(value)


def why_password_is_guessable(user: str, password: str) -> str | None:
    """What makes a database's password one of the first that anybody tries, or None. Never quotes it."""
    if password.lower() == user.lower():
        return "it is the user's name"
    bare = re.sub(r"[^a-z0-9]", "", password.lower())
    if bare.rstrip("0123456789") in _PASSWORDS_OF_MANUALS.union(_WORDS_EVERYBODY_TRIES):
        return "everybody tries it first"
    if len(password) < _PASSWORD_LENGTH_MIN:
        return f"it is shorter than {_PASSWORD_LENGTH_MIN} characters"
    return None


def _why_guessable(secret: str) -> str | None:
    """What makes a secret guessable, or None. Never quotes it, but for the word that everybody tries anyway."""
    bare = re.sub(r"[^a-z0-9]", "", secret.lower())
    word = next((word for word in _WORDS_EVERYBODY_TRIES if word in bare), None)
    if word is not None:
        return f"it holds the word {word}"
    if len(set(secret)) < _DISTINCT_MIN:
        return f"it has fewer than {_DISTINCT_MIN} different characters"
    if any(secret[period:] == secret[:-period] for period in range(1, len(secret) // 2 + 1)):
        return "it repeats one pattern"
    steps = [abs(ord(after) - ord(before)) for before, after in pairwise(secret)]
    if 2 * sum(step <= 1 for step in steps) >= len(steps):
        return "its characters follow one another"
    return None
