"""Remember every secret that was used against a gate and everything that the gate let out, and find one in the other.

A secret counts in pieces, as a leak rarely shows the whole: each line of a private key, the random part of a static
token, the claims and the signature of a JWT. Each piece is looked for as it is, percent-encoded, and in base64.
"""

from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote

# Shorter pieces could stand somewhere by chance.
_PIECE_CHARS_MIN = 20


class SecretHunt:
    """Secrets by what they are, and what was let out by where."""

    def __init__(self) -> None:
        self._pieces: dict[str, str] = {}
        self._emitted: list[tuple[str, bytes]] = []

    @property
    def piece_count(self) -> int:
        return len(self._pieces)

    @property
    def emitted_bytes(self) -> int:
        return sum(len(content) for _, content in self._emitted)

    def remember(self, what: str, secret: str) -> str:
        """Look for this secret from now on, and in what was let out before."""
        for piece in pieces_of(secret):
            self._pieces[piece] = what
        return secret

    def let_out(self, where: str, content: str | bytes, *, but: tuple[str, ...] = ()) -> None:
        """Keep what the gate let out. `but`: the secrets that this one place is there to hand out."""
        raw = content.encode() if isinstance(content, str) else content
        for secret in but:
            for piece in pieces_of(secret):
                raw = raw.replace(piece.encode(), b"")
        self._emitted.append((where, raw))

    def found(self) -> list[str]:
        """A sentence for each secret in each place."""
        return [
            f"{what} in {where}"
            for piece, what in self._pieces.items()
            for where, content in self._emitted
            if any(form in content for form in _forms(piece))
        ]


def pieces_of(secret: str) -> Iterator[str]:
    """The parts that alone would give something away."""
    if "PRIVATE KEY" in secret:
        parts = [line for line in secret.splitlines() if not line.startswith("-----")]
    elif secret.count(".") == 2:
        parts = secret.split(".")[1:]
    elif secret.startswith("bqg_"):
        parts = [secret.split("_", 2)[2]]
    else:
        parts = [secret]
    yield from (part for part in parts if len(part) >= _PIECE_CHARS_MIN)


def _forms(piece: str) -> tuple[bytes, ...]:
    return piece.encode(), quote(piece, safe="").encode(), b64encode(piece.encode()).rstrip(b"=")
