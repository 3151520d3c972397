"""Say which customers are one to BigQuery, and what the gate's reading of their queries then cannot see. Pure.

Asked by the settings' warnings, by app at the start and by `bqgate doctor`, wherever callers log in at the gate and it
calls BigQuery in its own name. A customer with a service account of its own is told apart by BigQuery's IAM; of others
the gate reads what they send, which is a second line of defence and no first one.
"""

from collections.abc import Iterator, Mapping

from bqgate.domain.tier import CustomerRegistry

_NAMED_MAX = 5
WHAT_READING_MISSES = (
    "It sees neither what views, routines and authorized datasets reach beyond the names that a dry run lists, nor "
    "what remote functions, connections and EXTERNAL_QUERY inside them call, nor whom row-level security and column "
    "policies mean, nor all that BigQuery's error messages tell"
)


def accounts_of(customer_registry: CustomerRegistry) -> dict[str, str | None]:
    """The service account of each customer that is configured; None: the gate's own."""
    return {customer.id: customer.account for customer in customer_registry.customers.values()}


def without_account(accounts: Mapping[str, str | None]) -> tuple[str, ...]:
    """The customers that go up as the gate's own account, where they have neighbours."""
    return tuple(name for name, account in accounts.items() if account is None) if len(accounts) > 1 else ()


def sharing_account(accounts: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    """The customers of each service account that is given to several."""
    found: dict[str, tuple[str, ...]] = {}
    for name, account in accounts.items():
        if account is not None:
            found[account.lower()] = (*found.get(account.lower(), ()), name)
    return {account: names for account, names in found.items() if len(names) > 1}


def warnings_of(accounts: Mapping[str, str | None]) -> Iterator[str]:
    """What an operator is to know of customers that BigQuery cannot tell apart."""
    names = without_account(accounts)
    if names:
        verb = "goes" if len(names) == 1 else "go"
        yield (
            f"customers: {listed(names)} {verb} up to BigQuery as the gate's own account, so that only its reading "
            f"of each query keeps customers apart. {WHAT_READING_MISSES}; give each a service_account of its own "
            "(docs/access.md)"
        )
    for account, sharers in sharing_account(accounts).items():
        yield (
            f"customers: {listed(sharers)} have one service_account, {account}: BigQuery cannot tell them apart; "
            "give each its own (docs/access.md)"
        )


def listed(names: tuple[str, ...]) -> str:
    """Names in a sentence, the first few of many."""
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
