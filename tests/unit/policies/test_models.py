import json
from typing import Any

import pytest
from pydantic import ValidationError

from bqgate.domain.policy import PolicyKind
from bqgate.policies.budget_models import BudgetPolicy
from bqgate.policies.compose import document_faults
from bqgate.policies.models import MODELS, CustomerPolicy, TierPolicy
from tests.support.policy_scene import GOLD, STANDARD


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (PolicyKind.TIER, GOLD | {"thresholds": [{"used_ratio": "0.5", "action": "review"}], "throttle_wait_ms": 1}),
        (PolicyKind.CUSTOMER, {"tier": "gold", "time_zone": "Asia/Tokyo", "data": ["p.d"], "mode": "observe"}),
        (PolicyKind.BUDGET, {"daily_usd": 7}),
        (PolicyKind.PRICING, {"model": "auto", "usd_per_tib": "0.000000001"}),
    ],
)
def test_a_document_survives_being_kept_as_json(kind: PolicyKind, document: dict[str, Any]) -> None:
    """What the registry keeps is read back as the same policy, also when it came as JSON text."""
    policy = MODELS[kind].model_validate(document)
    kept = json.loads(json.dumps(policy.model_dump(mode="json")))
    assert MODELS[kind].model_validate(kept) == policy
    assert MODELS[kind].model_validate_json(json.dumps(kept)) == policy


@pytest.mark.parametrize("kind", PolicyKind)
def test_schemas_say_how_values_are_written(kind: PolicyKind) -> None:
    """OpenAPI shows money as text of digits, not as an object of nano-dollars, and refuses unknown keys."""
    schema = MODELS[kind].model_json_schema(mode="serialization")
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(MODELS[kind].model_fields)
    for name, key in schema["properties"].items():
        text = json.dumps(key)
        assert key["description"], name
        assert not name.endswith("_usd") or ('"type": "string"' in text and "pattern" in text)
        assert "nanos" not in text


def test_schemas_take_what_is_read() -> None:
    """Whole dollars may be numbers in what is sent; they are text in what is answered."""
    sent = TierPolicy.model_json_schema(mode="validation")["properties"]["daily_usd"]
    answered = TierPolicy.model_json_schema(mode="serialization")["properties"]["daily_usd"]
    assert (sent["type"], sent["minimum"], answered["type"]) == (["string", "integer"], 0, "string")
    assert TierPolicy.model_validate(STANDARD | {"daily_usd": 7}).daily_usd.nanos == 7_000_000_000


@pytest.mark.parametrize(
    "document", [{}, {"daily_usd": None}, {"customer": "acme", "workload": "nightly", "mode": "observe"}]
)
def test_a_budget_says_at_least_one_limit(document: dict[str, Any]) -> None:
    """A budget that limits nothing would look like one that does."""
    with pytest.raises(ValidationError, match="says no limit"):
        BudgetPolicy.model_validate(document)


def test_faults_name_the_key_and_what_to_write() -> None:
    """An admin is told of every fault of a document at once, with paths as in the settings file."""
    with pytest.raises(ValidationError) as caught:
        TierPolicy.model_validate(
            {"daily_usd": 1.5, "emergency_usd": "x", "dayly_usd": 1, "thresholds": [{"used_ratio": "2", "act": "x"}]}
        )
    faults = dict(document_faults(PolicyKind.TIER, "gold", caught.value))
    assert set(faults) == {
        "tiers.gold.daily_usd",
        "tiers.gold.monthly_usd",
        "tiers.gold.emergency_usd",
        "tiers.gold.dayly_usd",
        "tiers.gold.thresholds.0.used_ratio",
        "tiers.gold.thresholds.0.action",
        "tiers.gold.thresholds.0.act",
    }
    assert "did you mean daily_usd?" in faults["tiers.gold.dayly_usd"]
    assert "quote it" in faults["tiers.gold.daily_usd"]


def test_a_customer_without_data_leaves_it_to_bigquery() -> None:
    """No list and an empty list are two things: what IAM allows, and nothing beside its own projects."""
    assert CustomerPolicy.model_validate({}).data is None
    assert CustomerPolicy.model_validate({"data": []}).data == ()
