"""Tie a resumable upload to the customer that began it, by a mark in the address that its chunks go to.

Called by boundary.py: the answer to an upload's start gets the mark, a chunk must bring it, and BigQuery never sees it.
To BigQuery all customers are one, so whoever learnt another's upload_id could fill that upload, or end it. The mark is
a keyed hash, because a list in one gate would be unknown to the others, and lost with it. Clients send chunks to the
address as it stands (https://cloud.google.com/bigquery/docs/reference/api-uploads#resumable).
"""

import hmac
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from bqgate.gate.isolation.denials import upload_denied
from bqgate.wire.http_message import HttpRequest, HttpResponse
from bqgate.wire.query_string import values_of, without_parameters

MARK = "bqgate_upload"
# The secret signs access tokens as well; what is said here can never be one.
_PURPOSE = b"bqgate upload session"


class UploadSessions:
    """Marks and checks them. `secret` is the gates' common one, `previous_secret` the one before it."""

    def __init__(self, secret: str, *, previous_secret: str | None = None) -> None:
        self.rotate(secret, previous_secret=previous_secret)

    def rotate(self, secret: str, *, previous_secret: str | None) -> None:
        """Mark by this secret from now on, and take marks of it and the previous one."""
        secrets = (secret, previous_secret)
        self._keys = [hmac.digest(each.encode(), _PURPOSE, "sha256") for each in secrets if each]

    def marked(self, answer: HttpResponse, *, project_id: str, owner: str) -> HttpResponse:
        """The same answer; where its Location is an upload's, with the mark of its owner in it."""
        headers = tuple(
            (name, self._with_mark(value, project_id, owner) if name.lower() == "location" else value)
            for name, value in answer.headers
        )
        return replace(answer, headers=headers)

    def checked(self, chunk: HttpRequest, *, project_id: str, owner: str) -> HttpRequest:
        """The chunk as BigQuery may have it.

        Raises:
            AccessDenied: its upload is another's, or was not begun at this gate.
        """
        uploads, marks = values_of(chunk.query, "upload_id"), values_of(chunk.query, MARK)
        fitting = self._marks(project_id, uploads[0], owner) if len(uploads) == 1 else ()
        # What a caller writes may be no ASCII, which compare_digest takes as bytes only.
        if len(marks) != 1 or not any(hmac.compare_digest(each.encode(), marks[0].encode()) for each in fitting):
            raise upload_denied()
        return unmarked(chunk)

    def _with_mark(self, location: str, project_id: str, owner: str) -> str:
        uploads = values_of(urlsplit(location).query, "upload_id")
        if len(uploads) != 1:
            return location
        return f"{location}&{MARK}={next(self._marks(project_id, uploads[0], owner))}"

    def _marks(self, project_id: str, upload_id: str, owner: str) -> Iterator[str]:
        said = f"{project_id}\n{owner}\n{upload_id}".encode()
        return (hmac.digest(key, said, "sha256").hex()[:32] for key in self._keys)


def unmarked(chunk: HttpRequest) -> HttpRequest:
    """The chunk without a mark, which is the gate's own."""
    return replace(chunk, query=without_parameters(chunk.query, {MARK}))
