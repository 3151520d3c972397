"""Write every refusal and failure of the gate as an HTTP answer. The one file that knows status codes.

Called by the handler (refusals, which are values) and the middleware (failures, which are exceptions). What leaves is
an Answer in BigQuery's own error format, with Google's wording first, because clients switch on the reason and some on
the text:

    reject: budget used up, grace over, emergency, cost breaker open
                                 403 quotaExceeded             no client repeats it
    reject: one query too big    400 bytesBilledLimitExceeded  the same
    reject: estimate unknown     400 invalid                   the same
    throttled too long, shed     429 rateLimitExceeded         all clients repeat it
    upstream, store, ledger down 503 backendError              all clients repeat it
    bad input                    400 (reason of the fault)     no client repeats it
    bad credential               401 authError, required       Google's clients renew their token once and repeat
    not this caller's to see     403 accessDenied              no client repeats it
    unsupported                  501 notImplemented            no client repeats it

Sources: https://cloud.google.com/bigquery/docs/error-messages and .../custom-quotas for the wording of cost quotas.
A rejection must not say "exceed … rate … limit" in this order: Java clients retry on that text.
"""

from datetime import datetime

from bqgate.domain.budget import Period, Window
from bqgate.domain.decision import Reject, RejectReason
from bqgate.domain.errors import (
    AccessDenied,
    BodyTooLarge,
    BqgateError,
    BudgetStoreUnavailable,
    JobNotFound,
    LedgerUnavailable,
    LoginFault,
    MalformedRequest,
    Unauthenticated,
    UnsupportedRequest,
    UpstreamNotTried,
    UpstreamRefused,
    UpstreamUnavailable,
)
from bqgate.domain.money import format_usd
from bqgate.domain.scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, Scope
from bqgate.domain.units import GIB
from bqgate.wire.error_reply import error_body
from bqgate.wire.exchange import Answer, Headers

JSON_TYPE = "application/json; charset=UTF-8"
_CHALLENGE = 'Bearer realm="bqgate"'


def error_answer(
    status: int, reason: str, message: str, *, headers: Headers = (), location: str | None = None
) -> Answer:
    """One error in BigQuery's format."""
    body = error_body(status, reason, message, location=location)
    return Answer(status, (("Content-Type", JSON_TYPE), *headers), body)


def answer_for_error(error: BqgateError) -> Answer:
    """The answer for a failure that crossed a port."""
    match error:
        case UpstreamRefused():
            challenge = () if error.challenge is None else (("WWW-Authenticate", error.challenge),)
            return Answer(error.status, (("Content-Type", error.content_type), *challenge), error.body)
        case MalformedRequest():
            return error_answer(400, error.reason, error.message, location=error.field)
        case BodyTooLarge():
            message = f"Request payload size exceeds the limit: {error.limit_bytes} bytes."
            return error_answer(413, "badRequest", message)
        case UnsupportedRequest():
            return error_answer(501, "notImplemented", error.message)
        case JobNotFound():
            return error_answer(404, "notFound", str(error))
        case Unauthenticated() | AccessDenied():
            return _answer_for_caller(error)
        case UpstreamUnavailable():
            return _answer_without_bigquery(error)
        case _:
            return error_answer(503, "backendError", f"bqgate: {_own_system(error)} does not answer; retry later.")


def _own_system(error: BqgateError) -> str:
    """Which of the gate's own systems failed."""
    match error:
        case BudgetStoreUnavailable():
            return "its store of budgets"
        case LedgerUnavailable():
            return "its ledger"
        case _:
            return "a system behind the gate"


def _answer_without_bigquery(error: UpstreamUnavailable) -> Answer:
    """The answer where BigQuery gave none. It says when to come back, though clients wait as they please."""
    wait_s = error.retry_after_s if isinstance(error, UpstreamNotTried) else None
    headers = () if wait_s is None else (("Retry-After", str(wait_s)),)
    return error_answer(503, "backendError", "bqgate: BigQuery is not answering; retry later.", headers=headers)


def _answer_for_caller(error: Unauthenticated | AccessDenied) -> Answer:
    """The answer to somebody unknown, or to somebody known who may not."""
    if isinstance(error, AccessDenied):
        return error_answer(403, "accessDenied", error.message)
    reason = "required" if error.fault is LoginFault.MISSING else "authError"
    return error_answer(401, reason, error.message, headers=(("WWW-Authenticate", _CHALLENGE),))


def answer_for_reject(
    reject: Reject, *, customer: str, decision_id: str, estimate_bytes: int | None, cap_bytes: int
) -> Answer:
    """The answer for a budget's no, with the numbers and what to do.

    Args:
        reject: the decision.
        customer: whose budget it was.
        decision_id: what support asks for; also in X-Bqgate-Request-Id.
        estimate_bytes: the most that the query would bill; None where nobody can say.
        cap_bytes: for a query too big, how many bytes it may bill.
    """
    cost = format_usd(reject.amount_nanos)
    match reject.reason:
        case RejectReason.BUDGET_USED_UP | RejectReason.GRACE_OVER:
            assert reject.balance is not None, "a budget said no, so there is one"
            over = "" if reject.grace_ended_at is None else f"Its grace ended {_moment(reject.grace_ended_at)}. "
            message = (
                f"Custom quota exceeded: {_subject_of(reject.balance.window, customer)} has used {_share(reject)} "
                f"(this query: up to {cost} USD{_size(estimate_bytes)}). "
                f"{over}{_until(reject.balance.window)} {reject.suggestion} "
                f"bqgate decision {decision_id}"
            )
            return error_answer(403, "quotaExceeded", message)
        case RejectReason.EMERGENCY | RejectReason.BREAKER_OPEN:
            message = (
                f"Custom quota exceeded: {_breaker_text(reject, customer)} "
                f"(this query: up to {cost} USD{_size(estimate_bytes)}). bqgate decision {decision_id}"
            )
            return error_answer(403, "quotaExceeded", message)
        case RejectReason.QUERY_TOO_BIG:
            needed = estimate_bytes if estimate_bytes is not None else cap_bytes
            message = (
                f"Query exceeded limit for bytes billed: {cap_bytes}. {needed} or higher required. "
                f"{_subject_of_bound(reject, customer)} may not spend {cost} USD on one query. {reject.suggestion} "
                f"bqgate decision {decision_id}"
            )
            return error_answer(400, "bytesBilledLimitExceeded", message)
        case RejectReason.UNKNOWN_ESTIMATE:
            message = (
                f"bqgate cannot foresee the cost of this query and is set to refuse such queries. {reject.suggestion} "
                f"bqgate decision {decision_id}"
            )
            return error_answer(400, "invalid", message, location="query")


def answer_for_shed(message: str, *, retry_after_s: int) -> Answer:
    """The answer when the gate itself has no room, or a wait passed its deadline; every client comes back later."""
    headers = (("Retry-After", str(retry_after_s)),)
    return error_answer(429, "rateLimitExceeded", f"Exceeded rate limits: {message}", headers=headers)


def _breaker_text(reject: Reject, customer: str) -> str:
    """Why the cost breaker is open, since when and until when, and who can close it; no full stop at the end."""
    assert reject.breaker is not None, "an emergency has tripped it"
    stopped = f"nothing that costs runs before {_moment(reject.breaker.until)}, unless an admin of bqgate resets it"
    if reject.reason is RejectReason.EMERGENCY:
        return (
            f"customer {customer} has used {_share(reject)}, its emergency limit, "
            f"and this query does not fit under it. Its cost breaker is open: {stopped}"
        )
    used = "" if reject.balance is None else f"; it has used {_share(reject)}"
    return f"the cost breaker of customer {customer} is open since {_moment(reject.breaker.opened_at)}: {stopped}{used}"


def _until(window: Window) -> str:
    """When there is room again: a schedule may end before the window does."""
    eases = "" if window.eases_at is None else f"A higher limit holds from {_moment(window.eases_at)}. "
    return f"{eases}Resets {_moment(window.resets_at)}."


def _subject_of(window: Window, customer: str) -> str:
    """Who has used what the window limits."""
    return _subject(window.customer, window.scope, customer)


def _subject_of_bound(reject: Reject, customer: str) -> str:
    """Who may not spend so much on one query, as a sentence begins."""
    budget = reject.budget
    account, scope = (customer, CUSTOMER_SCOPE) if budget is None else (budget.account, budget.scope)
    subject = _subject(account, scope, customer)
    return subject[0].upper() + subject[1:]


def _subject(account: str, scope: Scope, customer: str) -> str:
    if account == DEPLOYMENT_ACCOUNT:
        return "this deployment"
    return f"customer {customer}" if scope == CUSTOMER_SCOPE else f"{scope} of customer {customer}"


def _share(reject: Reject) -> str:
    balance = reject.balance
    assert balance is not None, "asked only where a budget said no"
    window = balance.window
    span = "today" if window.period is Period.DAY else "this month"
    if window.customer == DEPLOYMENT_ACCOUNT:  # what all customers spend together is not each one's to read
        return f"up its budget {span}, {window.key}"
    limit = format_usd(balance.limit_nanos or 0)
    held = f" and holds {format_usd(balance.held_nanos)} for running queries" if balance.held_nanos else ""
    return f"{format_usd(balance.captured_nanos)}{held} of {limit} USD {span}, {window.key}"


def _size(estimate_bytes: int | None) -> str:
    if estimate_bytes is None:
        return ""
    tenths = -(-estimate_bytes * 10 // GIB)
    return f", {tenths // 10}.{tenths % 10} GiB"


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%MZ")
