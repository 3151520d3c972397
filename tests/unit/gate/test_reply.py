import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from bqgate.domain.budget import Balance, Period, Window
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, BudgetScope, ScopeKind
from bqgate.domain.cost_breaker import CostBreaker
from bqgate.domain.decision import (
    Reject,
)
from bqgate.domain.errors import (
    BodyTooLarge,
    BqgateError,
    BudgetStoreUnavailable,
    LedgerUnavailable,
    MalformedRequest,
    TooManyRequests,
    UnsupportedRequest,
    UpstreamNotTried,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.tier import Budget
from bqgate.gate.reply import answer_for_error, answer_for_reject, answer_for_shed
from bqgate.wire.http_message import HttpResponse

USD = 10**9
RESET = datetime(2026, 11, 25, tzinfo=UTC)
JAVA_RETRIES = re.compile(r".*exceed.*rate.*limit.*", re.IGNORECASE)
TEAM = "data-platform@example.com"


def read(answer: HttpResponse) -> tuple[int, str, str]:
    assert isinstance(answer.body, bytes)
    assert answer.header("content-type") == "application/json; charset=UTF-8"
    error = json.loads(answer.body)["error"]
    assert error["code"] == answer.status
    assert error["message"] == error["errors"][0]["message"]
    return answer.status, error["errors"][0]["reason"], error["message"]


def test_a_used_up_budget_says_so_in_the_words_of_a_cost_quota() -> None:
    """403 quotaExceeded with spent, held, limit, cost and reset; no client retries it, Java's text match included."""
    window = Window("acme-corporate", Period.DAY, "2026-11-24", 10 * USD, datetime(2026, 11, 25, tzinfo=UTC))
    reject = Reject(RejectReason.BUDGET_USED_UP, 420_000_000, Balance(window, 9_800_000_000, 100_000_000), "Filter.")
    answer = answer_for_reject(
        reject, customer="acme-corporate", decision_id="d1", estimate_bytes=68 * 2**30, cap_bytes=0
    )
    status, reason, message = read(answer)
    assert (403, "quotaExceeded") == (status, reason)
    assert message.startswith("Custom quota exceeded: customer acme-corporate has used 9.80 and holds 0.10")
    assert "of 10.00 USD today, 2026-11-24 (this query: up to 0.42 USD, 68.0 GiB)" in message
    assert "Resets 2026-11-25T00:00Z." in message
    assert JAVA_RETRIES.fullmatch(message) is None


@pytest.mark.parametrize(
    ("window", "said"),
    [
        pytest.param(
            Window("acme", Period.MONTH, "2026-11", USD, RESET, BudgetScope(ScopeKind.PRINCIPAL, "ann@acme.example")),
            "principal ann@acme.example of customer acme has used 0.90 and holds 0.10 for running queries of 1.00 USD "
            "this month, 2026-11 (this query: up to 0.42 USD). Resets 2026-11-25T00:00Z. Filter. bqgate decision d1",
            id="a part of a customer's queries",
        ),
        pytest.param(
            Window("acme", Period.DAY, "2026-11-24", USD, RESET, next_increase_at=RESET - timedelta(hours=4)),
            "customer acme has used 0.90 and holds 0.10 for running queries of 1.00 USD today, 2026-11-24 (this query: "
            "up to 0.42 USD). More is allowed from 2026-11-24T20:00Z. Resets 2026-11-25T00:00Z. Filter. bqgate "
            "decision d1",
            id="while a schedule is on",
        ),
        pytest.param(
            Window(DEPLOYMENT_ACCOUNT, Period.DAY, "2026-11-24", USD, RESET),
            "this deployment has used up its budget today, 2026-11-24 (this query: up to 0.42 USD). "
            "Resets 2026-11-25T00:00Z. Filter. bqgate decision d1",
            id="the deployment: no amount of all customers together",
        ),
    ],
)
def test_a_refusal_names_the_budget_that_said_no(window: Window, said: str) -> None:
    """Whose it is, and its numbers where they are the caller's to read."""
    reject = Reject(RejectReason.BUDGET_USED_UP, 420_000_000, Balance(window, 900_000_000, 100_000_000), "Filter.")
    answer = answer_for_reject(reject, customer="acme", decision_id="d1", estimate_bytes=None, cap_bytes=0)
    assert read(answer) == (403, "quotaExceeded", f"Custom quota exceeded: {said}")


@pytest.mark.parametrize(
    ("account", "scope", "who"),
    [
        ("acme", BudgetScope(ScopeKind.LABEL, "team=ml"), "label team=ml of customer acme"),
        ("acme", CUSTOMER_SCOPE, "customer acme"),
        (DEPLOYMENT_ACCOUNT, CUSTOMER_SCOPE, "this deployment"),
    ],
)
def test_a_query_too_big_says_whose_bound_it_passed(account: str, scope: BudgetScope, who: str) -> None:
    """BigQuery's own wording first, in bytes; then in dollars what it would cost and what is allowed."""
    budget = Budget("b", account, scope, LimitPlan(Limits(query_nanos=1)))
    reject = Reject(RejectReason.QUERY_TOO_BIG, USD, suggestion="Filter.", budget=budget, bound_nanos=USD // 2)
    answer = answer_for_reject(reject, customer="acme", decision_id="d1", estimate_bytes=9, cap_bytes=5)
    said = f"This query would cost up to 1.00 USD; {who} may spend 0.50 USD on one query. Filter. bqgate decision d1"
    message = f"Query exceeded limit for bytes billed: 5. 9 or higher required. {said}"
    assert read(answer) == (400, "bytesBilledLimitExceeded", message)


DAY = Window("acme", Period.DAY, "2026-11-24", 10 * USD, datetime(2026, 11, 25, tzinfo=UTC))
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
BREAKER = CostBreaker(opened_at=NOON, until=DAY.resets_at)


@pytest.mark.parametrize(
    ("reject", "said"),
    [
        pytest.param(
            Reject(
                RejectReason.GRACE_OVER, USD, Balance(DAY, 11 * USD, 0, NOON), "Filter.", NOON + timedelta(minutes=15)
            ),
            "customer acme-corporate has used 11.00 of 10.00 USD today, 2026-11-24 (this query: up to 1.00 USD, "
            "2.0 GiB). Its grace ended 2026-11-24T12:15Z. Resets 2026-11-25T00:00Z. Filter. bqgate decision d1",
            id="grace is over",
        ),
        pytest.param(
            Reject(
                RejectReason.EMERGENCY,
                USD,
                Balance(replace(DAY, limit_nanos=20 * USD), 19 * USD, USD // 2, NOON),
                breaker=BREAKER,
            ),
            "customer acme-corporate has used 19.00 and holds 0.50 for running queries of 20.00 USD today, 2026-11-24, "
            "all that it may spend in an emergency, and this query does not fit under it. Its cost breaker is open: "
            "nothing that costs runs before 2026-11-25T00:00Z, unless an admin of bqgate resets it (this query: up to "
            "1.00 USD, 2.0 GiB). bqgate decision d1",
            id="the emergency limit",
        ),
        pytest.param(
            Reject(RejectReason.BREAKER_OPEN, USD, Balance(DAY, 11 * USD, 0), breaker=BREAKER),
            "the cost breaker of customer acme-corporate is open since 2026-11-24T12:00Z: nothing that costs runs "
            "before 2026-11-25T00:00Z, unless an admin of bqgate resets it; it has used 11.00 of 10.00 USD today, "
            "2026-11-24 (this query: up to 1.00 USD, 2.0 GiB). bqgate decision d1",
            id="the breaker is open",
        ),
    ],
)
def test_past_the_limit_a_refusal_says_since_when_until_when_and_who_can_help(reject: Reject, said: str) -> None:
    """403 quotaExceeded in the words of a cost quota; no client retries it, Java's text match included."""
    answer = answer_for_reject(
        reject, customer="acme-corporate", decision_id="d1", estimate_bytes=2 * 2**30, cap_bytes=0
    )
    assert read(answer) == (403, "quotaExceeded", f"Custom quota exceeded: {said}")
    assert JAVA_RETRIES.fullmatch(f"Custom quota exceeded: {said}") is None


def test_a_query_too_big_is_told_in_bigquerys_own_words() -> None:
    """400 bytesBilledLimitExceeded, the cap and the need first."""
    reject = Reject(RejectReason.QUERY_TOO_BIG, 50 * USD, suggestion="Filter.", bound_nanos=10 * USD)
    answer = answer_for_reject(reject, customer="acme", decision_id="d", estimate_bytes=2**40, cap_bytes=2**30)
    status, reason, message = read(answer)
    assert (400, "bytesBilledLimitExceeded") == (status, reason)
    assert message.startswith("Query exceeded limit for bytes billed: 1073741824. 1099511627776 or higher required.")
    assert JAVA_RETRIES.fullmatch(message) is None


@pytest.mark.parametrize(
    ("captured", "held", "cost", "limit", "said"),
    [
        (9_802_734_375, 0, 421_875_001, 10 * USD, "9.81 of 10.00 USD today, 2026-11-24 (this query: up to 0.43"),
        (0, 0, 412_345, 400_000, "0.00 of 0.0004 USD today, 2026-11-24 (this query: up to 0.000413"),
        (
            9_991_000_000,
            1,
            9_000_000,
            10 * USD + 123,
            "10.00 and holds 0.000000001 for running queries of 10.00 USD today, 2026-11-24 (this query: up to 0.009",
        ),
    ],
)
def test_amounts_are_told_in_cents_where_cents_say_it_all(
    captured: int, held: int, cost: int, limit: int, said: str
) -> None:
    """What is spent and asked for is rounded up and the limit down, and what is below a cent is not told as nothing."""
    window = replace(DAY, limit_nanos=limit)
    reject = Reject(RejectReason.BUDGET_USED_UP, cost, Balance(window, captured, held), "Filter.")
    answer = answer_for_reject(reject, customer="acme", decision_id="d1", estimate_bytes=None, cap_bytes=0)
    assert f"Custom quota exceeded: customer acme has used {said} USD). Resets" in read(answer)[2]


USED_UP = Balance(replace(DAY, next_increase_at=NOON), 10 * USD, 0)
EVERY_REFUSAL = (
    Reject(RejectReason.BUDGET_USED_UP, USD, USED_UP, "Filter."),
    Reject(RejectReason.GRACE_OVER, USD, USED_UP, "Filter.", NOON),
    Reject(RejectReason.EMERGENCY, USD, USED_UP, breaker=BREAKER),
    Reject(RejectReason.BREAKER_OPEN, USD, USED_UP, breaker=BREAKER),
    Reject(RejectReason.QUERY_TOO_BIG, USD, suggestion="Filter.", bound_nanos=USD // 2),
    Reject(RejectReason.UNKNOWN_ESTIMATE, 0, suggestion="It is a script."),
)


def test_every_reason_to_refuse_is_tried() -> None:
    """The refusals above leave none out."""
    assert {reject.reason for reject in EVERY_REFUSAL} == set(RejectReason)


@pytest.mark.parametrize("reject", EVERY_REFUSAL, ids=lambda reject: reject.reason.value)
@pytest.mark.parametrize(
    "name", ["acme", "acme-corporate", "corporate-limited", "accelerate.limits", "rate-limits@example.com"]
)
def test_no_name_makes_java_repeat_a_refusal(reject: Reject, name: str) -> None:
    """A customer or a contact may be called after rates and limits; no line says what Java clients repeat for."""
    for customer, contact in ((name, TEAM), ("acme-corporate", name)):
        answer = answer_for_reject(
            reject, customer=customer, decision_id="d1", estimate_bytes=5, cap_bytes=5, contact=contact
        )
        message = read(answer)[2]
        assert not [line for line in message.splitlines() if JAVA_RETRIES.fullmatch(line)]
        assert contact in message


@pytest.mark.parametrize("reject", EVERY_REFUSAL, ids=lambda reject: reject.reason.value)
def test_a_refusal_says_whom_to_ask(reject: Reject) -> None:
    """Where the operator has said it, and after what the caller can do alone."""
    refuse = partial(answer_for_reject, reject, customer="acme", decision_id="d1", estimate_bytes=5, cap_bytes=5)
    asked, silent = read(refuse(contact=TEAM))[2], read(refuse())[2]
    wanted = "help" if reject.reason.value in {"emergency", "breaker_open", "unknown_estimate"} else "more"
    assert asked == silent.replace("bqgate decision", f"Ask {TEAM} for {wanted}. bqgate decision")
    assert "Ask" not in silent


def test_shedding_begins_with_the_words_that_every_client_retries() -> None:
    """429 rateLimitExceeded and "Exceeded rate limits:", with when to come back."""
    answer = answer_for_shed("full.", retry_after_s=8)
    status, reason, message = read(answer)
    assert answer.header("Retry-After") == "8"
    assert (429, "rateLimitExceeded") == (status, reason)
    assert message.startswith("Exceeded rate limits:")


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (BudgetStoreUnavailable("x"), 503, "backendError"),
        (LedgerUnavailable("x"), 503, "backendError"),
        (UpstreamTimeout("x"), 503, "backendError"),
        (MalformedRequest("no", reason="parseError"), 400, "parseError"),
        (BodyTooLarge(10), 413, "badRequest"),
        (UnsupportedRequest("no"), 501, "notImplemented"),
    ],
)
def test_each_failure_has_its_status_and_reason(error: BqgateError, status: int, reason: str) -> None:
    """One table of failures."""
    assert (status, reason) == read(answer_for_error(error))[:2]


def test_bigquerys_own_refusal_is_passed_on_unchanged() -> None:
    """What Google says of a query is what the caller reads."""
    answer = answer_for_error(UpstreamRefused(400, b"{whatever}", "application/json"))
    assert (400, b"{whatever}") == (answer.status, answer.body)


def test_a_challenge_of_bigquerys_is_passed_on() -> None:
    """A 401 of the dry run keeps its WWW-Authenticate (RFC 9110 section 11.6.1); others bear none."""
    refused = answer_for_error(UpstreamRefused(401, b"{}", challenge='Bearer error="invalid_token"'))
    assert 'Bearer error="invalid_token"' == refused.header("www-authenticate")
    assert answer_for_error(UpstreamRefused(403, b"{}")).header("www-authenticate") is None


def test_it_is_said_which_side_is_silent() -> None:
    """BigQuery where it is BigQuery, else which of the gate's own; whoever asks need not look for the wrong one."""
    away = UpstreamUnavailable("BigQuery is not answering (connection refused).")
    assert read(answer_for_error(away))[2] == "bqgate: BigQuery is not answering (connection refused); retry later."
    assert "BigQuery" not in read(answer_for_error(LedgerUnavailable("x")))[2]
    assert "its ledger" in read(answer_for_error(LedgerUnavailable("x")))[2]
    assert "its store of budgets" in read(answer_for_error(BudgetStoreUnavailable("x")))[2]


@pytest.mark.parametrize(("retry_after_s", "header"), [(8, "8"), (None, None)])
def test_who_finds_bigquery_left_alone_is_told_for_how_long(retry_after_s: int | None, header: str | None) -> None:
    """The answer is that of an outage, and says when the gate tries again, where it knows."""
    answer = answer_for_error(UpstreamNotTried("left alone", retry_after_s=retry_after_s))
    assert (answer.status, answer.header("retry-after")) == (503, header)
    assert read(answer)[1] == "backendError"


def test_too_many_dry_runs_are_told_to_come_back() -> None:
    """Every client repeats a 429, after the seconds that it says."""
    answer = answer_for_error(TooManyRequests("no dry run within 30 s.", retry_after_s=5))
    assert read(answer) == (429, "rateLimitExceeded", "Exceeded rate limits: no dry run within 30 s.")
    assert answer.header("retry-after") == "5"
