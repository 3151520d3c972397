"""Write every refusal and failure of the gate as an HTTP answer. The one file that knows status codes.

Called by the handler (refusals, which are values) and the middleware (failures, which are exceptions). What leaves is
an HttpResponse in BigQuery's own error format, with Google's wording first, because clients switch on the reason and
some on the text:

    reject: budget used up, grace over, emergency, cost breaker open
                                 403 quotaExceeded             no client repeats it
    reject: one query too big    400 bytesBilledLimitExceeded  the same
    reject: estimate unknown     400 invalid                   the same
    throttled too long, shed     429 rateLimitExceeded         all clients repeat it
    upstream, store, ledger down 503 backendError              all clients repeat it
    body too slow                408 timeout               as the client pleases
    bad input                    400 (reason of the fault)     no client repeats it
    bad credential               401 authError, required       Google's clients renew their token once and repeat
    not this caller's to see     403 accessDenied              no client repeats it
    a foreign web page           403 accessDenied              the same
    a host that is not the gate  421 invalid                   the same
    unsupported                  501 notImplemented            no client repeats it

Sources: https://cloud.google.com/bigquery/docs/error-messages and .../custom-quotas for the wording of cost quotas.
A rejection must not say "exceed … rate … limit" in this order on one line: Java clients retry on that text, and names
of customers, tables and contacts may have the last two. So the texts here say "limit" before any name, and where names
make up the rest the line ends before them.
"""

from datetime import datetime

from bqgate.domain.budget import Period, Window
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, BudgetScope
from bqgate.domain.decision import (
    Reject,
)
from bqgate.domain.errors import (
    AccessDenied,
    AttemptEnded,
    AttemptUnderWay,
    BodyTooLarge,
    BodyTooSlow,
    BqgateError,
    BudgetStoreUnavailable,
    ForeignPage,
    JobNotFound,
    LedgerUnavailable,
    LoginFault,
    MalformedRequest,
    NoRoomForBody,
    TooManyRequests,
    Unauthenticated,
    UnknownHost,
    UnsupportedRequest,
    UpstreamNotTried,
    UpstreamRefused,
    UpstreamUnavailable,
)
from bqgate.domain.money import show_usd
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.units import GIB
from bqgate.wire.error_reply import error_body
from bqgate.wire.http_message import Headers, HttpResponse

JSON_TYPE = "application/json; charset=UTF-8"
# For an answer after which nobody could tell where the next request begins.
CLOSES: Headers = (("Connection", "close"),)
_CHALLENGE = 'Bearer realm="bqgate"'
# On one line, in this order: what Java clients look for.
_REPEATED_BY_JAVA = ("exceed", "rate", "limit")


def error_answer(
    status: int, reason: str, message: str, *, headers: Headers = (), location: str | None = None
) -> HttpResponse:
    """One error in BigQuery's format."""
    body = error_body(status, reason, message, location=location)
    return HttpResponse(status, (("Content-Type", JSON_TYPE), *headers), body)


def answer_for_error(error: BqgateError) -> HttpResponse:
    """The answer for a failure that crossed a port."""
    match error:
        case UpstreamRefused():
            challenge = () if error.challenge is None else (("WWW-Authenticate", error.challenge),)
            return HttpResponse(error.status, (("Content-Type", error.content_type), *challenge), error.body)
        case MalformedRequest():
            return error_answer(400, error.reason, error.message, location=error.field)
        case BodyTooLarge():
            message = f"Request payload size exceeds the limit: {error.limit_bytes} bytes."
            return error_answer(413, "badRequest", message)
        case BodyTooSlow():
            return error_answer(408, "timeout", str(error), headers=CLOSES)
        case UnsupportedRequest():
            return error_answer(501, "notImplemented", error.message)
        case JobNotFound():
            return error_answer(404, "notFound", str(error))
        case Unauthenticated() | AccessDenied() | ForeignPage() | UnknownHost():
            return _answer_for_caller(error)
        case _:
            return _answer_for_want(error)


def _answer_for_want(error: BqgateError) -> HttpResponse:
    """The answer where a system does not answer, or the gate has no room."""
    match error:
        case NoRoomForBody():
            headers = (("Retry-After", str(error.retry_after_s)), *CLOSES)
            return error_answer(503, "backendError", f"bqgate: {error}", headers=headers)
        case TooManyRequests():
            return answer_for_shed(error.message, retry_after_s=error.retry_after_s)
        case UpstreamUnavailable():
            return _answer_without_bigquery(error)
        case _:
            return error_answer(503, "backendError", f"bqgate: {_own_cause(error)}")


def _own_cause(error: BqgateError) -> str:
    """Why the gate itself cannot answer now."""
    match error:
        case AttemptEnded() | AttemptUnderWay():
            return str(error)
        case BudgetStoreUnavailable():
            return "its store of budgets does not answer; retry later."
        case LedgerUnavailable():
            return "its ledger does not answer; retry later."
        case _:
            return "a system behind the gate does not answer; retry later."


def _answer_without_bigquery(error: UpstreamUnavailable) -> HttpResponse:
    """The answer where BigQuery gave none, with the cause. It says when to come back; clients wait as they please."""
    wait_s = error.retry_after_s if isinstance(error, UpstreamNotTried) else None
    headers = () if wait_s is None else (("Retry-After", str(wait_s)),)
    return error_answer(503, "backendError", f"bqgate: {str(error).rstrip('.')}; retry later.", headers=headers)


def _answer_for_caller(error: Unauthenticated | AccessDenied | ForeignPage | UnknownHost) -> HttpResponse:
    """The answer to somebody unknown, to somebody known who may not, and to what a web page may have sent."""
    if isinstance(error, UnknownHost):
        return error_answer(421, "invalid", error.message)
    if isinstance(error, AccessDenied | ForeignPage):
        return error_answer(403, "accessDenied", error.message)
    reason = "required" if error.fault is LoginFault.MISSING else "authError"
    return error_answer(401, reason, error.message, headers=(("WWW-Authenticate", _CHALLENGE),))


def answer_for_reject(
    reject: Reject,
    *,
    customer: str,
    decision_id: str,
    estimate_bytes: int | None,
    cap_bytes: int,
    contact: str = "",
) -> HttpResponse:
    """The answer for a budget's no, with the numbers, what to do and whom to ask.

    Args:
        reject: the decision.
        customer: whose budget it was.
        decision_id: what support asks for; also in X-Bqgate-Request-Id.
        estimate_bytes: the most that the query would bill; None where nobody can say.
        cap_bytes: for a query too big, how many bytes it may bill.
        contact: whom to ask for more; empty: nobody is named.
    """
    query = f"(this query: up to {show_usd(reject.amount_nanos)} USD{_size(estimate_bytes)})"
    status, reason, head, location = 403, "quotaExceeded", "Custom quota exceeded:", None
    wanted = "more"
    match reject.reason:
        case RejectReason.BUDGET_USED_UP | RejectReason.GRACE_OVER:
            assert reject.balance is not None, "a budget said no, so there is one"
            over = "" if reject.grace_ended_at is None else f"Its grace ended {_moment(reject.grace_ended_at)}. "
            window = reject.balance.window
            said = f"{_subject_of(window, customer)} has used {_share(reject)} {query}. {over}{_until(window)}"
        case RejectReason.EMERGENCY | RejectReason.BREAKER_OPEN:
            said, wanted = f"{_breaker_text(reject, customer)} {query}.", "help"
        case RejectReason.QUERY_TOO_BIG:
            needed = estimate_bytes if estimate_bytes is not None else cap_bytes
            status, reason = 400, "bytesBilledLimitExceeded"
            head = f"Query exceeded limit for bytes billed: {cap_bytes}. {needed} or higher required."
            said = _too_big_text(reject, customer)
        case RejectReason.UNKNOWN_ESTIMATE:
            status, reason, location = 400, "invalid", "query"
            head = "bqgate cannot foresee the cost of this query and is set to refuse such queries."
            said, wanted = "", "help"
    ask = f"Ask {contact} for {wanted}." if contact else ""
    rest = " ".join(part for part in (said, reject.suggestion, ask, f"bqgate decision {decision_id}") if part)
    return error_answer(status, reason, _told_once(head, rest), location=location)


def answer_for_shed(message: str, *, retry_after_s: int) -> HttpResponse:
    """The answer when the gate itself has no room, or a wait passed its deadline; every client comes back later."""
    headers = (("Retry-After", str(retry_after_s)),)
    return error_answer(429, "rateLimitExceeded", f"Exceeded rate limits: {message}", headers=headers)


def _told_once(head: str, rest: str) -> str:
    """Both in one line, or in two where Java clients would repeat the query for the words that one line has."""
    message = f"{head} {rest}"
    return f"{head}\n{rest}" if _is_repeated_by_java(message) else message


def _is_repeated_by_java(message: str) -> bool:
    """Whether a line has the three words: found one after the other, so that names of any length take no time."""
    for line in message.lower().split("\n"):
        at = 0
        for word in _REPEATED_BY_JAVA:
            found = line.find(word, at)
            if found < 0:
                break
            at = found + len(word)
        else:
            return True
    return False


def _too_big_text(reject: Reject, customer: str) -> str:
    """What the query would cost, and what its sender may spend on one."""
    cost, budget = show_usd(reject.amount_nanos), reject.budget
    account, scope = (customer, CUSTOMER_SCOPE) if budget is None else (budget.account, budget.scope)
    subject = _subject(account, scope, customer)
    assert reject.bound_nanos is not None, "a bound was passed"
    allowed = show_usd(reject.bound_nanos, rounds_up=False)
    return f"This query would cost up to {cost} USD; {subject} may spend {allowed} USD on one query."


def _breaker_text(reject: Reject, customer: str) -> str:
    """Why the cost breaker is open, since when and until when, and who can close it; no full stop at the end."""
    assert reject.breaker is not None, "an emergency has tripped it"
    stopped = f"nothing that costs runs before {_moment(reject.breaker.until)}, unless an admin of bqgate resets it"
    if reject.reason is RejectReason.EMERGENCY:
        return (
            f"customer {customer} has used {_share(reject)}, all that it may spend in an emergency, "
            f"and this query does not fit under it. Its cost breaker is open: {stopped}"
        )
    used = "" if reject.balance is None else f"; it has used {_share(reject)}"
    return f"the cost breaker of customer {customer} is open since {_moment(reject.breaker.opened_at)}: {stopped}{used}"


def _until(window: Window) -> str:
    """When there is room again: a schedule may end before the window does."""
    eases = "" if window.next_increase_at is None else f"More is allowed from {_moment(window.next_increase_at)}. "
    return f"{eases}Resets {_moment(window.resets_at)}."


def _subject_of(window: Window, customer: str) -> str:
    """Who has used what the window limits."""
    return _subject(window.customer, window.scope, customer)


def _subject(account: str, scope: BudgetScope, customer: str) -> str:
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
    limit = show_usd(balance.limit_nanos or 0, rounds_up=False)
    held = f" and holds {show_usd(balance.held_nanos)} for running queries" if balance.held_nanos else ""
    return f"{show_usd(balance.captured_nanos)}{held} of {limit} USD {span}, {window.key}"


def _size(estimate_bytes: int | None) -> str:
    if estimate_bytes is None:
        return ""
    tenths = -(-estimate_bytes * 10 // GIB)
    return f", {tenths // 10}.{tenths % 10} GiB"


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%MZ")
