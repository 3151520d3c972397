"""Describe what changes a limit with time, and budgets, as documents: schedules, raises, budgets of all scopes.

Beside models.py, which uses them for tiers and lists the kinds; the same rules hold: frozen, an unknown key is an
error, units in the keys. A validator is made when it is first used, because a start needs few of them.
"""

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bqgate.domain.budget_scope import BudgetScope, ScopeKind
from bqgate.domain.tier import Mode, ThresholdAction
from bqgate.policies.values import Clock24, Label, Line, Moment, Name, Ratio, TimeOfDay, Usd, Whose, WhoseProject

SCHEDULES_MAX = 20
INCREASES_MAX = 100
_LIMIT_KEYS = ("daily_usd", "monthly_usd", "query_usd")


class Policy(BaseModel):
    """A mapping of keys to values: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def _says_one_of(self, keys: tuple[str, ...]) -> None:
        if all(getattr(self, key) is None for key in keys):
            raise ValueError(f"says no limit; give at least one of {', '.join(keys)}")


class ThresholdPolicy(Policy):
    """A share of a limit and what follows when it is passed."""

    used_ratio: Ratio = Field(description="Share of the limit.")
    action: ThresholdAction = Field(description="monitor, review, or throttle.")


class Weekday(StrEnum):
    """A day of the week, Monday first."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


class SchedulePolicy(Policy):
    """Limits that stand in for the usual ones on some days, between two times."""

    days: tuple[Weekday, ...] = Field(
        default=tuple(Weekday),
        description="On which days: mon, tue, wed, thu, fri, sat, sun.",
    )
    from_time: Clock24 = Field(default=TimeOfDay(0), description="From when, in the customer's time zone.")
    until_time: Clock24 = Field(
        default=TimeOfDay(24 * 60), description="Until when; before from_time it is on the next day."
    )
    daily_usd: Usd | None = Field(default=None, description="Limit of the day meanwhile.")
    monthly_usd: Usd | None = Field(default=None, description="Limit of the month meanwhile.")
    query_usd: Usd | None = Field(default=None, description="Limit of one query meanwhile.")

    @field_validator("days")
    @classmethod
    def _is_on_some_day(cls, days: tuple[Weekday, ...]) -> tuple[Weekday, ...]:
        if not days:
            raise ValueError("must not be empty")
        return days

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        self._says_one_of(_LIMIT_KEYS)
        return self


class Raising(Policy):
    """What is put on top of limits, until when, and why."""

    daily_usd: Usd | None = Field(default=None, description="On top of the day, and of its emergency limit.")
    monthly_usd: Usd | None = Field(default=None, description="On top of the month.")
    until: Moment = Field(description="When it ends.")
    reason: Line = Field(min_length=1, max_length=500, description="Why.")
    request_id: Line | None = Field(
        default=None, min_length=1, max_length=128, description="Of the caller's; a raise posted again with it is one."
    )

    @model_validator(mode="after")
    def _raises_something(self) -> Self:
        if not any(amount is not None and amount.nanos for amount in (self.daily_usd, self.monthly_usd)):
            raise ValueError("raises nothing; give daily_usd, monthly_usd, or both")
        return self


class IncreasePolicy(Raising):
    """An amount on top of the limits until a moment."""

    by: Line = Field(default="", max_length=320, description="Who raised it.")
    ended_at: Moment | None = Field(default=None, description="When an admin ended it before that.")
    ended_by: Line = Field(default="", max_length=320, description="Who ended it.")


class BudgetPolicy(Policy):
    """A budget: of a customer, over the limits of its tier; of a part of its queries; or of the whole deployment.

    Named like a customer and without a scope it is that customer's own: what it does not say, the tier says.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    customer: Name | None = Field(default=None, description="Whose queries, where it is about a part of them.")
    principal: Whose | None = Field(default=None, description="Only this principal's; * gives each one a budget.")
    project: WhoseProject | None = Field(
        default=None, description="Only those in this project; * gives each one a budget."
    )
    workload: Whose | None = Field(default=None, description="Only those of this workload; * gives each one a budget.")
    label: Label | None = Field(default=None, description="Only jobs with this label, like team=ml.")
    deployment: bool = Field(default=False, description="true: all customers together, in days and months of UTC.")
    daily_usd: Usd | None = Field(default=None, description="Limit of a day in the customer's time zone.")
    monthly_usd: Usd | None = Field(default=None, description="Limit of a month.")
    emergency_usd: Usd | None = Field(
        default=None, description="The most that a day may ever cost; of a customer's own budget only."
    )
    query_usd: Usd | None = Field(default=None, description="Limit of one query.")
    mode: Mode | None = Field(
        default=None,
        description="off, observe, or enforce; without it, the customer's. Not of a customer's own budget.",
    )
    thresholds: tuple[ThresholdPolicy, ...] | None = Field(
        default=None, max_length=20, description="Shares of a limit, ascending, each with what follows."
    )
    schedules: tuple[SchedulePolicy, ...] | None = Field(
        default=None, max_length=SCHEDULES_MAX, description="Other limits at some times; the first that is on holds."
    )
    rollover_daily_usd: Usd | None = Field(
        default=None, description="How much of a day's unused limit the next day takes over at most."
    )
    rollover_monthly_usd: Usd | None = Field(
        default=None, description="How much of a month's unused limit the next month takes over at most."
    )
    raises: tuple[IncreasePolicy, ...] = Field(
        default=(), max_length=INCREASES_MAX, description="Amounts on top of the limits for a while."
    )

    @property
    def scope(self) -> BudgetScope | None:
        """What part of a customer's queries it is about; None: all of them, or the deployment."""
        parts = self._parts()
        return BudgetScope(*parts[0]) if parts else None

    @property
    def is_own(self) -> bool:
        """Whether it is a customer's own, over the limits of its tier."""
        return not self._parts() and not self.deployment

    @model_validator(mode="after")
    def _is_about_one_thing(self) -> Self:
        named = [kind.value for kind, _ in self._parts()] + (["deployment"] if self.deployment else [])
        if len(named) > 1:
            raise ValueError(f"is about one thing; leave all but one of {', '.join(named)} out")
        if self._parts() and self.customer is None:
            raise ValueError(f"is about a {named[0]} of which customer? Give customer")
        if self.deployment and self.customer is not None:
            raise ValueError("is about all customers together; leave customer out")
        return self

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        keys = tuple(key for key in type(self).model_fields if key.endswith("_usd"))
        if not (self.is_own and (self.raises or self.schedules is not None or self.thresholds is not None)):
            self._says_one_of(keys if self.is_own else _LIMIT_KEYS)
        if not self.is_own and self.emergency_usd is not None:
            raise ValueError("emergency_usd is of a customer's own budget; leave it out here")
        if self.is_own and self.mode is not None:
            raise ValueError("mode is the customer's; write it there")
        return self

    def _parts(self) -> list[tuple[ScopeKind, str]]:
        parts = {
            ScopeKind.PRINCIPAL: self.principal,
            ScopeKind.PROJECT: self.project,
            ScopeKind.WORKLOAD: self.workload,
            ScopeKind.LABEL: self.label,
        }
        return [(kind, value) for kind, value in parts.items() if value is not None]
