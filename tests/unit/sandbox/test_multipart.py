from pathlib import Path

import pytest

from bqgate.sandbox.multipart import split_related

TYPE = 'multipart/related; boundary="b=1"'


def related(line_end: str, media: bytes = b"1,a\n2,b\n") -> bytes:
    """A body as clients write it."""
    head = ("--b=1", "Content-Type: application/json", "", '{"a": 1}', "--b=1", "Content-Type: text/csv", "", "")
    return line_end.join(head).encode() + media + f"{line_end}--b=1--{line_end}".encode()


def split(folder: Path, body: bytes, content_type: str = TYPE) -> tuple[bytes, bytes]:
    (folder / "body").write_bytes(body)
    metadata = split_related(folder / "body", content_type, folder / "media")
    return metadata, (folder / "media").read_bytes()


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
@pytest.mark.parametrize("media", [b"", b"1,a\n2,b\n", b"\r\n--b=10\r\n", b"x" * (2**20 + 1), b"\n\n"])
def test_media_arrive_whole_whatever_ends_the_lines(tmp_path: Path, line_end: str, media: bytes) -> None:
    """Empty, with line breaks at the ends, with what looks like a delimiter, larger than a copy's step."""
    assert (b'{"a": 1}', media) == split(tmp_path, related(line_end, media))


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", TYPE),
        (related("\r\n"), "multipart/related"),
        (b"--b=1\r\n\r\n{}\r\n--b=1--\r\n", TYPE),
        (related("\r\n")[:-10], TYPE),
        (b"--b=1\r\nno empty line\r\n--b=1\r\n\r\nx\r\n--b=1--", TYPE),
    ],
)
def test_a_body_that_is_none_is_refused(tmp_path: Path, body: bytes, content_type: str) -> None:
    """Empty, without a boundary, with one part, cut off, with a part that is all headers."""
    with pytest.raises(ValueError, match=r"no boundary|needed|empty line"):
        split(tmp_path, body, content_type)
