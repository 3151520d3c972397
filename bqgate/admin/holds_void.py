"""End a hold by hand: its query never ran, or nobody will ever learn how it ended.

Asks the Ledger for the open hold, has the Registry write down who ends it and why, then has the settlement end it:
closed in the ledger, void in the budgets. The record comes first, so that no money is let go without one; a hold that
could not be ended after it (503) is ended by asking again, with a record more.

Nothing is forgiven by this: whoever still asks after the job books what it cost, as a charge of the same hold, which
the ledger takes for closed holds too. A young hold is refused, because its query may be about to be sent.
"""

from datetime import timedelta
from typing import Protocol

from aiohttp import hdrs, web

from bqgate.admin.body import read_body
from bqgate.admin.documents import answer_document, write_hold, write_moment
from bqgate.admin.events import EventMaker
from bqgate.admin.operation import Answered, Operation, Parameter, Place
from bqgate.admin.parameters import Parameters
from bqgate.admin.problem import MEDIA_TYPE, Problem
from bqgate.admin.schemas import ProblemDocument
from bqgate.admin.schemas_keys import HoldVoided, VoidBody
from bqgate.domain.hold import Hold
from bqgate.domain.money import format_usd
from bqgate.domain.principal import Identity
from bqgate.ports import Clock, Ledger, Registry

# Longer than a throttled query waits and a connection takes to be made, as in settlement's patience.
VOID_AGE_S = 120


class HoldVoiding(Protocol):
    """Who ends holds that cost nothing: the settlement."""

    async def void(self, hold: Hold, *, attempts: int | None) -> bool:
        """End a hold whose query never ran, whatever attempts there were (None). Again: nothing changes.

        Raises:
            BudgetStoreUnavailable, LedgerUnavailable: not ended, or unknown; call again.
        """


class HoldVoidViews:
    """The view that ends a hold."""

    def __init__(
        self, *, ledger: Ledger, registry: Registry, settlement: HoldVoiding, events: EventMaker, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._settlement = settlement
        self._events = events
        self._clock = clock

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        return (
            Operation(
                id="holds.void",
                method=hdrs.METH_POST,
                path="/v1/holds/{hold_id}:void",
                summary="End an open hold without a cost",
                tag="holds",
                view=self.void,
                parameters=(Parameter("hold_id", "The id of an open hold.", Place.PATH),),
                body=VoidBody,
                answers={
                    200: Answered("The hold has ended.", HoldVoided),
                    404: Answered("No open hold has this id.", ProblemDocument, MEDIA_TYPE),
                    409: Answered("Its query may be about to be sent.", ProblemDocument, MEDIA_TYPE),
                },
            ),
        )

    async def void(self, request: web.Request, identity: Identity) -> web.Response:
        """POST /v1/holds/{hold_id}:void."""
        Parameters(request)
        body = await read_body(request, VoidBody)
        hold_id = request.match_info["hold_id"]
        hold = next((each for each in await self._ledger.fetch_open_holds() if each.id == hold_id), None)
        if hold is None:
            raise Problem(404, f"No open hold has the id {hold_id[:100]!r}; it may have ended.", field="hold_id")
        now = self._clock.now()
        young_for = hold.placed_at + timedelta(seconds=VOID_AGE_S) - now
        if young_for > timedelta():
            detail = f"This hold is younger than {VOID_AGE_S} s; its query may be about to be sent. Try again later."
            seconds = -(-young_for // timedelta(seconds=1))
            raise Problem(409, detail, headers={hdrs.RETRY_AFTER: str(seconds)})
        event = self._events.event(
            request,
            identity,
            "hold.voided",
            f"holds/{hold.id}",
            customer=hold.customer,
            detail=body.reason,
            before=write_hold(hold, now).model_dump(mode="json"),
        )
        await self._registry.append_audit((event,))
        await self._settlement.void(hold, attempts=None)
        voided = HoldVoided(
            id=hold.id,
            customer=hold.customer,
            principal=hold.principal,
            amount_usd=format_usd(hold.amount_nanos),
            voided_at=write_moment(now),
            reason=body.reason,
        )
        return answer_document(voided)
