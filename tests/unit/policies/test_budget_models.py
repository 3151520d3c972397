from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from bqgate.domain.budget_scope import BudgetScope, ScopeKind
from bqgate.policies.budget_models import BudgetPolicy, IncreasePolicy, SchedulePolicy
from bqgate.policies.messages import message_of
from bqgate.policies.models import keys_around

NIGHTLY = {"customer": "acme", "workload": "nightly", "daily_usd": "5"}


def faults(model: type[BudgetPolicy | IncreasePolicy | SchedulePolicy], document: dict[str, Any]) -> list[str]:
    """What is wrong with a document, each with its key."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document)
    return [
        ".".join(map(str, error["loc"])) + ": " + message_of(error, keys_around(model, error["loc"] or ("",)))
        for error in caught.value.errors(include_url=False)
    ]


@pytest.mark.parametrize(
    ("document", "scope"),
    [
        (NIGHTLY, BudgetScope(ScopeKind.WORKLOAD, "nightly")),
        ({"customer": "acme", "principal": "*", "query_usd": "1"}, BudgetScope(ScopeKind.PRINCIPAL, "*")),
        ({"customer": "acme", "project": "p", "monthly_usd": "1"}, BudgetScope(ScopeKind.PROJECT, "p")),
        ({"customer": "acme", "label": "team=", "daily_usd": "1"}, BudgetScope(ScopeKind.LABEL, "team=")),
        ({"deployment": True, "daily_usd": "1"}, None),
        ({"daily_usd": "1"}, None),
        ({"raises": [{"daily_usd": "1", "until": "2026-12-01T00:00:00Z", "reason": "x"}]}, None),
        ({"schedules": [{"daily_usd": "1"}]}, None),
    ],
)
def test_a_budget_is_about_one_thing(document: dict[str, Any], scope: BudgetScope | None) -> None:
    """A part of a customer's queries; else the customer's own, or the deployment's. It reads as it was written."""
    budget = BudgetPolicy.model_validate(document)
    assert budget.scope == scope
    assert BudgetPolicy.model_validate(budget.model_dump(mode="json")) == budget


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (NIGHTLY | {"label": "team=ml"}, "is about one thing; leave all but one of workload, label out"),
        (NIGHTLY | {"deployment": True}, "is about one thing; leave all but one of workload, deployment out"),
        ({"workload": "nightly", "daily_usd": "5"}, "is about a workload of which customer? Give customer"),
        ({"deployment": True, "customer": "acme", "daily_usd": "5"}, "is about all customers together"),
        (NIGHTLY | {"daily_usd": None}, "says no limit; give at least one of daily_usd, monthly_usd, query_usd"),
        ({"deployment": True, "thresholds": []}, "says no limit"),
        (NIGHTLY | {"emergency_usd": "9"}, "emergency_usd is of a customer's own budget"),
        ({"daily_usd": "5", "mode": "observe"}, "mode is the customer's; write it there"),
        (NIGHTLY | {"workload": " nightly"}, "' nightly' is nobody; write a name"),
        (NIGHTLY | {"workload": "a\nb"}, "is nobody; write a name"),
        ({"customer": "acme", "label": "ml", "daily_usd": "1"}, "'ml' is no label with its value, like team=ml"),
        ({"customer": "acme", "label": "Team=ml", "daily_usd": "1"}, "is no label with its value"),
    ],
)
def test_what_is_wrong_is_said_in_words(document: dict[str, Any], said: str) -> None:
    """One fault, and what to write instead."""
    (fault,) = faults(BudgetPolicy, document)
    assert said in fault


@pytest.mark.parametrize("time", ["20:00", "00:00", "24:00", "23:59"])
def test_times_of_day_are_read_exactly(time: str) -> None:
    """As they are written on a clock of 24 hours."""
    assert str(SchedulePolicy(from_time=time, daily_usd="1").from_time) == time  # type: ignore[arg-type]  # as text


@pytest.mark.parametrize("time", ["24:01", "8:00", "8 pm", 1200, None, "12:60"])
def test_what_is_no_time_of_day_is_refused(time: object) -> None:
    """A number too: other readers of YAML take 20:00 for one of base sixty."""
    (fault,) = faults(SchedulePolicy, {"from_time": time, "daily_usd": "1"})
    assert 'is no time of day; write it like "20:00"' in fault


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"daily_usd": None}, ": raises nothing; give daily_usd, monthly_usd, or both"),
        ({"daily_usd": "0", "monthly_usd": "0.00"}, ": raises nothing; give daily_usd, monthly_usd, or both"),
        ({"until": "2026-12-01T00:00:00"}, "until: must say its time zone, like 2026-12-01T18:00:00Z"),
        ({"until": datetime(2026, 12, 1)}, "until: must say its time zone, like 2026-12-01T18:00:00Z"),  # noqa: DTZ001 - that is the fault
        ({"until": "tomorrow"}, "until: 'tomorrow' is no moment; write one like 2026-12-01T18:00:00Z"),
        ({"until": "2026-12-01"}, "until: '2026-12-01' is no moment; write one like 2026-12-01T18:00:00Z"),
        ({"until": "2026-02-30T00:00:00Z"}, "until: '2026-02-30T00:00:00Z' is no moment"),
        ({"until": "9999-12-31T23:59:59-10:00"}, "until: '9999-12-31T23:59:59-10:00' is no moment"),
        ({"until": "20261201"}, "until: '20261201' is no moment; write one like 2026-12-01T18:00:00Z"),
        ({"until": 20261201}, "until: must be a moment, like 2026-12-01T18:00:00Z"),
        ({"until": None}, "until: must be a moment, like 2026-12-01T18:00:00Z"),
        ({"reason": ""}, "reason: must not be empty"),
        ({"reason": "a\x00b"}, "reason: must be one line of printable characters"),
        ({"reason": "one\ntwo"}, "reason: must be one line of printable characters"),
        ({"emergency_usd": "9"}, "emergency_usd: unknown key; "),
    ],
)
def test_a_raise_says_how_much_until_when_and_why(changes: dict[str, Any], said: str) -> None:
    """Each by its key. What databases cannot keep, or what only a machine would take for a moment, is refused."""
    document = {"daily_usd": "1", "until": "2026-12-01T00:00:00Z", "reason": "x"}
    (fault,) = faults(IncreasePolicy, document | changes)
    assert fault.startswith(said)


@pytest.mark.parametrize(
    "until",
    ["2026-12-01T18:00:00Z", "2026-12-01t19:00:00.000+01:00", "2026-12-01 13:00-05:00"],
)
def test_a_raise_ends_at_one_moment_however_it_is_written(until: str) -> None:
    """Kept and shown in UTC."""
    document = {"daily_usd": "1", "until": until, "reason": "x"}
    assert IncreasePolicy.model_validate(document).model_dump(mode="json")["until"] == "2026-12-01T18:00:00Z"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"days": [], "daily_usd": "1"}, "days: must not be empty"),
        (
            {"days": ["saturday"], "daily_usd": "1"},
            "days.0: 'saturday' is not one of mon, tue, wed, thu, fri, sat, sun",
        ),
        ({"days": ["sat"]}, ": says no limit; give at least one of daily_usd, monthly_usd, query_usd"),
        ({"emergency_usd": "1", "daily_usd": "1"}, "emergency_usd: unknown key; "),
    ],
)
def test_a_schedule_says_when_and_what(document: dict[str, Any], said: str) -> None:
    """On some day, some limit."""
    (fault,) = faults(SchedulePolicy, document)
    assert fault.startswith(said)
