"""Hold what a chaos run knows of itself: what ran upstream, what was in force when, and how the gates' clocks stood.

Moments are seconds of real time since the load began. Plain values, so that a failing run can leave them as JSON.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.support.scorekeeper_books import Ran

# The longest that a change takes to be in force everywhere, once no store is away: two seconds, and a busy machine.
SPREADS_S = 6.0
_ALWAYS = -1e9
_NEVER = 1e9


@dataclass(frozen=True)
class InForce:
    """A value, and from when until when a gate may go by it."""

    value: float
    from_s: float
    until_s: float = _NEVER


@dataclass
class History:
    """What was in force when. Around a change both values may be."""

    values: list[InForce]

    @classmethod
    def beginning_with(cls, value: float) -> "History":
        return cls([InForce(value, _ALWAYS)])

    def change(self, value: float, from_s: float, until_s: float | None) -> None:
        """The value is another from then on, and the old one in force no longer than `until_s`; None: perhaps it is."""
        if until_s is not None:
            self.values = [
                InForce(each.value, each.from_s, min(each.until_s, until_s)) if each.value != value else each
                for each in self.values
            ]
        self.values.append(InForce(value, from_s))

    def between(self, from_s: float, until_s: float) -> list[float]:
        """All values that may have been in force at some moment of these."""
        return [each.value for each in self.values if each.from_s <= until_s and each.until_s >= from_s]


@dataclass(frozen=True)
class ClockSegment:
    """How far a gate's clock was ahead from one moment to another."""

    from_s: float
    until_s: float
    offset_ms: int


@dataclass(frozen=True)
class Billed:
    """A job of the upstream's books. `call` is the number that its query tells.

    `billed` is what is billed, statement by statement: its kind and bytes.
    """

    project: str
    job_id: str | None
    created_s: float
    ended_s: float
    billed: list[tuple[str, int]]
    hold_id: str
    call: int
    error: str


@dataclass
class Facts:
    """What the audit is made from, beside the ledger and Redis.

    `began_ms` is the machine's time at which the load began. `limits` by the name of a window (world.py); `prices` are
    nano-dollars per TiB. `workload_of` and `bypassed` by call.
    """

    began_ms: int
    zones: dict[str, str]
    limits: dict[str, History]
    prices: History
    clocks: list[ClockSegment] = field(default_factory=list)
    jobs: list[Billed] = field(default_factory=list)
    workload_of: dict[int, str | None] = field(default_factory=dict)
    bypassed: set[int] = field(default_factory=set)

    def real_s(self, placed_at_us: int, created_s: float, wait_s_max: float) -> tuple[float, float]:
        """Between which moments a hold was placed, by its own clock's word and when its job was made.

        A gate's clock says which moment that was; which gate it was nobody says, so several may fit.
        """
        fits = []
        for segment in self.clocks:
            at_s = (placed_at_us / 1000 - segment.offset_ms - self.began_ms) / 1000
            is_possible = created_s - wait_s_max <= at_s <= created_s + 0.5
            if is_possible and segment.from_s - 0.1 <= at_s <= segment.until_s + 0.1:
                fits.append(at_s)
        return (min(fits), max(fits)) if fits else (created_s - wait_s_max, created_s)


def billed(ran: Ran, began_ms: int, shift_ms: int) -> Billed:
    """A job of the scorekeeper's, in seconds since the load began."""
    query = ran.configuration.get("query") or {}
    last_word = str(query.get("query") or "").rpartition(" ")[2]
    return Billed(
        project=ran.project_id,
        job_id=ran.job_id,
        created_s=(ran.created_ms - shift_ms - began_ms) / 1000,
        ended_s=((ran.ended_ms or 0) - shift_ms - began_ms) / 1000,
        billed=[(each.statement_type, each.billable_bytes) for each in ran.statements],
        hold_id=ran.labels.get("bqgate_hold", ""),
        call=int(last_word) if last_word.isdigit() else 0,
        error="" if ran.error is None else ran.error["reason"],
    )


def moment(micros: int) -> datetime:
    """Microseconds since 1970 as a moment."""
    return datetime.fromtimestamp(micros / 1_000_000, UTC)


def plain(value: Any) -> Any:
    """What JSON can say."""
    return sorted(value) if isinstance(value, set) else vars(value)
