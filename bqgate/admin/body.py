"""Read JSON bodies strictly: bounded, of a known media type, no name twice, every fault named at once.

Called by the views, after the guard: until somebody reads it, a body waits with its sender ("Expect: 100-continue" is
answered here). What leaves: a model, a JSON value, or a Problem 400, 408, 413 or 415.
"""

import asyncio
import json
from codecs import BOM_UTF8
from collections.abc import Collection
from typing import Any, NoReturn, TypeVar

from aiohttp import HttpVersion11, hdrs, web
from pydantic import BaseModel, ValidationError

from bqgate.admin.problem import FieldFault, Problem
from bqgate.policies.messages import message_of
from bqgate.policies.models import keys_around

BODY_BYTES_MAX = 64 * 1024
BODY_S_MAX = 20.0
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

ModelT = TypeVar("ModelT", bound=BaseModel)


async def read_body(request: web.Request, model: type[ModelT]) -> ModelT:
    """A JSON body as a model.

    Raises:
        Problem: too large, compressed, of another type, no JSON, or not what the model says; names all that is wrong.
    """
    data = await _read(request, (JSON,))
    _parsed(data)
    try:
        return model.model_validate_json(data)
    except ValidationError as invalid:
        # Somebody may have put a token where a word belongs: it must not come back, or into a log of answers.
        refuse_fields(
            [
                FieldFault(
                    ".".join(map(str, each["loc"])),
                    message_of(each, keys_around(model, each["loc"]), may_quote=False),
                )
                for each in invalid.errors(include_url=False)
            ]
        )


async def read_object(request: web.Request, media_types: Collection[str] = (JSON,)) -> dict[str, Any]:
    """A JSON body that is an object, as it is.

    Raises:
        Problem: too large, compressed, of another type, no JSON, or no object.
    """
    value = _parsed(await _read(request, media_types))
    if not isinstance(value, dict):
        raise Problem(400, "The body must be a JSON object.")
    return value


def refuse_fields(faults: Collection[FieldFault], *, status: int = 400) -> NoReturn:
    """Answer for what is wrong with some fields.

    Raises:
        Problem: always.
    """
    first = next(iter(faults))
    more = f" {len(faults) - 1} more in errors." if len(faults) > 1 else ""
    detail = f"{first.field or 'The body'}: {first.message.rstrip('.')}.{more}"
    raise Problem(status, detail, field=first.field or None, errors=tuple(faults))


async def _read(request: web.Request, media_types: Collection[str]) -> bytes:
    if request.body_exists and hdrs.CONTENT_TYPE in request.headers and request.content_type not in media_types:
        raise Problem(415, f"Send {' or '.join(media_types)}.", field=hdrs.CONTENT_TYPE)
    return (await read_whole(request, bytes_max=BODY_BYTES_MAX)).removeprefix(BOM_UTF8)


async def read_whole(request: web.Request, *, bytes_max: int, within_s: float = BODY_S_MAX) -> bytes:
    """All of a body, which is asked for only now and must be there `within_s` seconds.

    Raises:
        Problem: 415 where it is compressed, 413 where it is larger than `bytes_max`, 408 where it comes too slowly, 400
            where it is cut off.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise Problem(415, "Send the body uncompressed.", field=hdrs.CONTENT_ENCODING)
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as in aiohttp's own handler: nothing of the answer has gone out
    body = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > bytes_max:
                    raise Problem(413, f"The body is larger than {bytes_max} bytes.")
    except TimeoutError:
        raise Problem(408, f"The body has not arrived within {within_s:g} seconds.") from None
    except (ConnectionError, web.RequestPayloadError):
        raise Problem(400, "The body is cut off.") from None
    return bytes(body)


def _parsed(data: bytes) -> Any:
    """The JSON value; names that stand twice in one object mean two things, and are refused."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Problem(400, "The body is not JSON.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise Problem(400, f"{name[:100]} stands twice in one object.", field=name[:100])
        members[name] = value
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
