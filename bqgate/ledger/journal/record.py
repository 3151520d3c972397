"""Turn a write into the bytes of a journal's record and back. Pure.

A record is its length and a checksum, four bytes each, little-endian, and then JSON: [kind, row]. Rows bear the names
of columns, so that a later version reads what an earlier one left.
"""

import struct
import zlib

import orjson

from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger.writes import Write, WriteKind, encode_write

HEAD = struct.Struct("<II")
# Far above what a hold with the longest labels takes; more is damage.
RECORD_BYTES_MAX = 4 * 1024 * 1024
_KINDS = frozenset(WriteKind)


def record_of(write: Write) -> bytes:
    """A write as a record.

    Raises:
        LedgerUnavailable: no database would take it, or it is out of all proportion.
    """
    body = encode_write(write)
    length = len(body)
    if length > RECORD_BYTES_MAX:
        raise LedgerUnavailable("The ledger cannot write this: it is too long.")
    return HEAD.pack(length, zlib.crc32(body)) + body


def read_record(data: bytes, offset: int) -> tuple[Write, int] | None:
    """The record at an offset, and where it ends; None: it is not whole, damaged, or of a later version's kind."""
    start = offset + HEAD.size
    if len(data) < start:
        return None
    length, checksum = HEAD.unpack_from(data, offset)
    body = data[start : start + length]
    if not 0 < length <= RECORD_BYTES_MAX or len(body) < length or zlib.crc32(body) != checksum:
        return None
    kind, row = orjson.loads(body)
    return (Write(WriteKind(kind), row), start + length) if kind in _KINDS else None
