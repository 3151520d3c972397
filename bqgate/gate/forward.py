"""Send an admitted query to BigQuery and stream the answer to the caller, watching it pass (step 9).

Called by the handler; calls the Upstream port. The answer's bytes are never changed; a copy of its first MiB is kept,
because the job reference stands at its beginning and a small answer bears the whole cost. When the answer has ended,
or the caller has left, or BigQuery broke off, settlement is told what was seen. What leaves: an Answer with the gate's
headers; UpstreamUnavailable after the hold was handed to settlement.
"""

import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from bqgate.admission.admit import Admitted
from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.job import Method
from bqgate.domain.pricing import PricingModel
from bqgate.domain.principal import Principal
from bqgate.gate.outcome import AskLater, NothingRan, Seen, Verdict, judge
from bqgate.ports import Upstream
from bqgate.wire.exchange import Answer, Call, Headers, without

# Large enough for any job and for the totals of a usual result; past it the job is asked after.
COPY_BYTES = 2**20

Settle = Callable[[Admitted, Verdict, Principal], None]


class Forwarder:
    """Sends queries upstream and tells settlement what came back."""

    def __init__(self, upstream: Upstream, settle: Settle, model: PricingModel) -> None:
        self._upstream = upstream
        self._settle = settle
        self._model = model

    async def forward(self, call: Call, admitted: Admitted, method: Method, principal: Principal) -> Answer:
        """Send the call. Its hold is ended by settlement, whatever happens here.

        Raises:
            UpstreamUnavailable: no answer; settlement asks after the job unless nothing was sent.
        """
        call = Call(call.method, call.path, call.query, _readable(call.headers), call.body)
        try:
            answer = await self._upstream.exchange(call, credential=principal.credential)
        except UpstreamUnavailable as failure:
            is_unsent = not failure.may_have_worked and not admitted.is_replay
            self._settle(admitted, NothingRan() if is_unsent else AskLater(admitted.hold.job), principal)
            raise
        except BaseException:  # cancelled while sending: BigQuery may have the query
            self._settle(admitted, AskLater(admitted.hold.job), principal)
            raise
        return Answer(answer.status, answer.headers, self._watched(answer, admitted, method, principal))

    async def _watched(
        self, answer: Answer, admitted: Admitted, method: Method, principal: Principal
    ) -> AsyncIterator[bytes]:
        copy = bytearray()
        is_whole = False
        try:
            if isinstance(answer.body, bytes):
                copy += answer.body[:COPY_BYTES]
                is_whole = len(answer.body) <= COPY_BYTES
                yield answer.body
            else:
                size = 0
                async with aclosing(answer.body) as chunks:  # type: ignore[type-var]  # adapters hand out generators
                    async for chunk in chunks:
                        size += len(chunk)
                        copy += chunk[: COPY_BYTES - len(copy)]
                        yield chunk
                is_whole = size <= COPY_BYTES
        finally:
            text, is_decoded = _decode(bytes(copy), answer.header("content-encoding"))
            verdict = judge(
                Seen(answer.status, text, is_whole and is_decoded),
                method=method,
                hold=admitted.hold,
                is_script=admitted.estimate.unknown_because in {"script", "dry_run_refused"},
                is_replay=admitted.is_replay,
                model=self._model,
            )
            self._settle(admitted, verdict, principal)


def _readable(headers: Headers) -> Headers:
    """Ask only for encodings that the gate can read in passing: gzip where the caller takes it, else none."""
    accepted = next((value for key, value in headers if key.lower() == "accept-encoding"), "")
    return (*without(headers, ("accept-encoding",)), ("Accept-Encoding", "gzip" if "gzip" in accepted else "identity"))


def _decode(copy: bytes, encoding: str | None) -> tuple[str, bool]:
    """The text of an answer's beginning, and whether all of the copy could be read."""
    if encoding is not None and "gzip" in encoding.lower():
        inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            # Text beyond sixteen times the copy is no JSON that the gate waits for: bounded against bombs.
            copy = inflater.decompress(copy, 16 * COPY_BYTES)
        except zlib.error:
            return "", False
        return copy.decode("utf-8", "replace"), inflater.eof
    return copy.decode("utf-8", "replace"), True
