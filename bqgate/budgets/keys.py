"""Name every key in Redis, and how ids are written in them.

Used by scripts and redis_store. ROWS is the whole table; a test compares it with what really lies in Redis. All keys
of a customer bear one hash tag, {customer}, so that one script may touch them all in Redis Cluster
(https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags). Ids may hold any character;
they are percent-encoded, braces and spaces too. Redis must run with maxmemory-policy noeviction: the holds are data.
Amounts are nano-dollars as decimal text; `_us` is microseconds since 1970, UTC.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, unquote

from bqgate.budgets.refill import ENDED_TTL_S
from bqgate.domain.budget import Period, Window, WindowId
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, BudgetScope, ScopeKind
from bqgate.domain.hold import Attempts, Hold
from bqgate.domain.money import check_nanos

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# How long a window stays after its end: jobs that ran over midnight are captured in it, and people look back.
WINDOW_KEPT = {Period.DAY: timedelta(days=3), Period.MONTH: timedelta(days=40)}

# A window of long ago that somebody asks for stays this long.
WINDOW_TTL_S_MIN = 3600

# How long what is known of a customer's holds stays after the last of them was placed, kept or put back. Longer than a
# hold may live (settings: admission.hold_ttl_s, at most 30 days), and than any window in which one may count: a window
# would count for ever a hold whose record has gone. Holds end long before; this is for a customer that nobody mends.
HOLDS_TTL_S = (timedelta(days=31) + WINDOW_KEPT[Period.MONTH] + timedelta(days=1)) // timedelta(seconds=1)

CHECK_KEY = "bqgate:check"
CHECK_TTL_S = 60

# How long a breaker's key stays after its day, for a gate whose clock is late.
BREAKER_KEPT = timedelta(hours=1)

HOLDS_PATTERN = "bqgate:{*}:holds"
BREAKERS_PATTERN = "bqgate:{*}:breaker"
PART_WINDOWS_PATTERN = "bqgate:{*}:window:*/*"

_AS_HOLDS = f"{HOLDS_TTL_S // 86400} days after its last write"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of key. Each has a TTL: whatever happens, nothing stays for ever."""

    pattern: str
    type: str
    fields: str
    unit: str
    ttl: str
    deleted_by: str


ROWS = (
    Row(
        pattern="bqgate:{<customer>}:window:<period>:<key>",
        type="hash",
        fields="captured_nanos, held_nanos, history (history.lua), grace_started_us (once it is in grace)",
        unit="nano-dollars, microseconds",
        ttl="day: 3 days after its end, month: 40 days; at least 1 hour",
        deleted_by="TTL; forget_windows",
    ),
    Row(
        pattern="bqgate:{<customer>}:window:<scope>/<value>:<period>:<key>",
        type="hash",
        fields="captured_nanos, held_nanos, history",
        unit="nano-dollars",
        ttl="as the customer's own",
        deleted_by="TTL; forget_windows",
    ),
    Row(
        pattern="bqgate:{<customer>}:breaker",
        type="hash",
        fields="opened_at_us, until_us, trial (the probe's hold id or nothing), emergency_nanos (the probe's)",
        unit="microseconds, nano-dollars",
        ttl="1 hour after its day; there while the breaker is open",
        deleted_by="end_hold.lua when the probe closes it; reset_breaker; TTL",
    ),
    Row(
        pattern="bqgate:{<customer>}:holds",
        type="hash",
        fields="<hold id>: '<amount_nanos> <placed_at_us> <idempotency key or nothing> <window> <window>…'",
        unit="nano-dollars, microseconds",
        ttl=_AS_HOLDS,
        deleted_by="end_hold.lua, field by field; TTL",
    ),
    Row(
        pattern="bqgate:{<customer>}:attempts",
        type="hash",
        fields="<hold id>: '<how many have joined> <leased_until_us>'; from 1,000,000 on it was lost and put back",
        unit="microseconds",
        ttl=_AS_HOLDS,
        deleted_by="end_hold.lua, field by field; TTL",
    ),
    Row(
        pattern="bqgate:{<customer>}:idempotency",
        type="hash",
        fields="<idempotency key>: <hold id>",
        unit="",
        ttl=_AS_HOLDS,
        deleted_by="end_hold.lua, field by field; TTL",
    ),
    Row(
        pattern="bqgate:{<customer>}:ended:<hold id>",
        type="string",
        fields="cost_nanos",
        unit="nano-dollars",
        ttl=f"{ENDED_TTL_S} s",
        deleted_by="TTL",
    ),
    Row(
        pattern="bqgate:{<customer>}:dropped",
        type="string",
        fields="which drop of windows was the last, or since when Redis knows of none; what was read before fills none",
        unit="",
        ttl=_AS_HOLDS,
        deleted_by="TTL",
    ),
    Row(
        pattern=CHECK_KEY,
        type="string",
        fields="1",
        unit="",
        ttl=f"{CHECK_TTL_S} s",
        deleted_by="TTL",
    ),
    Row(
        pattern="bqgate:system:<breaker>",
        type="string",
        fields="open or closed (redis_breaker_state.py)",
        unit="",
        ttl="as long as the word holds",
        deleted_by="TTL",
    ),
    Row(
        pattern="bqgate:rates:control/<class>/<caller, hashed>/<number>/1/minute",
        type="list",
        fields="moments of the last minute's requests (rate_storage.py; `limits` writes it)",
        unit="seconds",
        ttl="1 minute",
        deleted_by="TTL",
    ),
)


def escape(text: str) -> str:
    """Write any text without braces, spaces and control characters."""
    if text.isascii() and text.isalnum():  # as the gate's own ids are
        return text
    return quote(text, safe="/:@", errors="surrogatepass")


def unescape(text: str) -> str:
    """Undo escape."""
    return unquote(text, errors="surrogatepass")


def window_name(window_id: WindowId) -> str:
    """How a window is called within its account: "day:2026-11-24", "workload/nightly:month:2026-11"."""
    scope, period, key = window_id
    name = f"{period.value}:{escape(key)}"
    if scope == CUSTOMER_SCOPE:
        return name
    return f"{scope.kind.value}/{quote(scope.value, safe='@', errors='surrogatepass')}:{name}"


def names_text(hold: Hold) -> str:
    """The names of a hold's windows as its record has them: always in the same order."""
    return _names_text(hold.scopes, tuple(hold.window_keys.items()))


@lru_cache(maxsize=10_000)
def _names_text(scopes: tuple[BudgetScope, ...], window_keys: tuple[tuple[Period, str], ...]) -> str:
    ids = (WindowId(scope, period, key) for scope in (CUSTOMER_SCOPE, *scopes) for period, key in window_keys)
    return " ".join(sorted(map(window_name, ids)))


def window_ttl_s(window: Window, now: datetime) -> int:
    """How long a window's key lives from `now`."""
    kept = window.resets_at + WINDOW_KEPT[window.period] - now
    return max(WINDOW_TTL_S_MIN, kept // timedelta(seconds=1))


def breaker_ttl_s(until: datetime, now: datetime) -> int:
    """How long the key of a breaker lives from `now`."""
    return (max(until - now, timedelta()) + BREAKER_KEPT) // timedelta(seconds=1)


def to_micros(moment: datetime) -> int:
    """A moment as whole microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: str) -> datetime:
    """Undo to_micros."""
    return _EPOCH + int(micros) * _MICROSECOND


class CustomerKeys:
    """The keys of one customer."""

    def __init__(self, customer: str) -> None:
        assert customer, "an empty hash tag would scatter the customer's keys over a cluster"
        self._prefix = f"bqgate:{{{escape(customer)}}}"
        self.holds = f"{self._prefix}:holds"
        self.windows_pattern = f"{self._prefix}:window:*"
        self.attempts = f"{self._prefix}:attempts"
        self.idempotency = f"{self._prefix}:idempotency"
        self.breaker = f"{self._prefix}:breaker"
        self.dropped = f"{self._prefix}:dropped"

    def window(self, name: str) -> str:
        """The key of a window, by window_name."""
        return f"{self._prefix}:window:{name}"

    def windows(self, names: str) -> list[str]:
        """The keys of windows, by their names with blanks between them."""
        return [f"{self._prefix}:window:{name}" for name in names.split(" ")] if names else []

    def ended(self, hold_id: str) -> str:
        """The key that says that a hold has ended, by its escaped id."""
        return f"{self._prefix}:ended:{hold_id}"


@lru_cache(maxsize=10_000)
def keys_of(customer: str) -> CustomerKeys:
    """The keys of a customer, made once."""
    return CustomerKeys(customer)


def customer_of(key: str, pattern: str = HOLDS_PATTERN) -> str:
    """The customer whose key of this pattern this is."""
    head, tail = pattern.split("*")
    return unescape(key.removeprefix(head).removesuffix(tail))


def part_window_of(key: str) -> tuple[str, WindowId]:
    """The account and the window whose key this is, of PART_WINDOWS_PATTERN; undoes window_name."""
    head, _, name = key.partition("}:window:")
    about, period, window_key = name.split(":")
    kind, _, value = about.partition("/")
    scope = BudgetScope(ScopeKind(kind), unescape(value))
    return unescape(head.removeprefix("bqgate:{")), WindowId(scope, Period(period), unescape(window_key))


def hold_record(hold: Hold) -> str:
    """What the customer's `holds` says of a hold: all that ending it takes."""
    idempotency = escape(hold.idempotency_key) if hold.idempotency_key else ""
    return f"{check_nanos(hold.amount_nanos)} {to_micros(hold.placed_at)} {idempotency} {names_text(hold)}"


def placed_at_of(record: str) -> datetime:
    """When the hold of a record was placed."""
    return from_micros(record.split(" ", 2)[1])


def attempts_record(attempts: Attempts) -> str:
    """What the customer's `attempts` says of a hold."""
    return f"{attempts.count} {to_micros(attempts.leased_until)}"


def attempts_of(record: str) -> Attempts:
    """Undo attempts_record."""
    count, leased_until_us = record.split(" ")
    return Attempts(int(count), from_micros(leased_until_us))
