"""Name why a query does not run: one word for the budget stores, answers, logs, metrics, the ledger and the API."""

from enum import StrEnum


class RejectReason(StrEnum):
    """Why a query does not run. The first four are a budget store's to say."""

    BUDGET_USED_UP = "budget_used_up"
    GRACE_OVER = "grace_over"
    EMERGENCY = "emergency"
    BREAKER_OPEN = "breaker_open"
    QUERY_TOO_BIG = "query_too_big"
    UNKNOWN_ESTIMATE = "unknown_estimate"
