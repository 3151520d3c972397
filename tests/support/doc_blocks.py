"""Read the fenced blocks out of the documents, so that tests can run what users copy.

A block is named by its document, the heading that it stands under and its place there, as in `docs/clients.md#go.1`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The addresses that the documents use: those of `bqgate serve` and `bqgate sandbox` when nobody says others.
GATE_URL = "http://127.0.0.1:8080"
SANDBOX_URL = "http://127.0.0.1:9050"


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    name: str
    language: str
    text: str

    def at(self, gate_url: str) -> str:
        """The text with the gate where it runs now; nothing else is changed."""
        return self.text.replace(GATE_URL, gate_url)


def blocks(document: str) -> Iterator[Block]:
    """All fenced blocks of a document that name a language, in order."""
    heading, fence = "", ""
    lines: list[str] = []
    places: Counter[str] = Counter()
    for line in (ROOT / document).read_text(encoding="utf-8").splitlines():
        opening = re.fullmatch(r" *```(\w*)", line)
        if opening and not fence:
            fence, lines = opening[1] or "text", []
        elif opening:
            places[heading] += 1
            if fence != "text":
                yield Block(f"{document}#{heading}.{places[heading]}", fence, "\n".join(lines) + "\n")
            fence = ""
        elif fence:
            lines.append(line)
        elif title := re.fullmatch(r"#+ (.*)", line):
            heading = re.sub(r"[^\w-]", "", title[1].lower().replace(" ", "-"))


def block(name: str) -> Block:
    """One block by its name."""
    return next(each for each in blocks(name.partition("#")[0]) if each.name == name)
