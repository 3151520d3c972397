"""Take a multipart/related upload apart: the job's metadata, and the file that follows it.

`uploads` calls it with a body that it has put on disk. Lines may end in CRLF or in LF alone, which is what
google-api-python-client writes (Google takes both). The file is copied in constant memory. What leaves is the
metadata, or ValueError.

Source: https://cloud.google.com/bigquery/docs/reference/api-uploads#multipart
"""

from __future__ import annotations

import mmap
import re
from email.message import Message
from itertools import islice
from pathlib import Path

END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
COPY_BYTES = 2**20


def split_related(body: Path, content_type: str, media: Path) -> bytes:
    """Return the content of the first part and write that of the second to `media`.

    Raises:
        ValueError: There is no boundary, or there are no two parts.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if not boundary or not body.stat().st_size:
        raise ValueError("no boundary or no body")
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary.encode()) + rb"(?:--)?[ \t]*(?=\r?\n|\Z)")
    with body.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        marks = [match.span() for match in islice(delimiter.finditer(data), 3)]
        if len(marks) < 3:
            raise ValueError("metadata and media are needed")
        (first, second, third) = marks
        metadata = data[_content(data, first[1], second[0]) : second[0]]
        with media.open("wb") as out:
            for at in range(_content(data, second[1], third[0]), third[0], COPY_BYTES):
                out.write(data[at : min(at + COPY_BYTES, third[0])])
    return metadata


def _content(data: mmap.mmap, start: int, end: int) -> int:
    """Return where the content of the part between two delimiters begins."""
    found = END_OF_HEADERS.search(data, start, end)
    if found is None:
        raise ValueError("a part without an empty line below its headers")
    return found.end()
