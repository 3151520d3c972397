"""Derive what the admin API takes and answers from the documents of policies.models, one set of models for each kind.

Used by policies (the views) and by the OpenAPI document. A stored document is the policy's own keys, flat, between its
name and where it comes from. Nothing here is a second list of keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from bqgate.admin.schemas import MomentText
from bqgate.domain.policy import PRICING_NAME, PolicyKind
from bqgate.policies.models import MODELS
from bqgate.policies.values import Name

SETTINGS, ADMIN = "settings", "admin"


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of policy as a resource of the API.

    `plural` is its collection, `noun` the first half of its audit actions ("tier.updated"), `key` what names one:
    "name", "customer", or None where there is only one. `new` is the body of POST, `patch` that of PATCH, `shown` and
    `listed` are answers.
    """

    kind: PolicyKind
    plural: str
    noun: str
    key: str | None
    model: type[BaseModel]
    new: type[BaseModel]
    patch: type[BaseModel]
    shown: type[BaseModel]
    listed: type[BaseModel]

    def target(self, name: str) -> str:
        """What the audit log calls one."""
        return self.plural if self.key is None else f"{self.plural}/{name}"


def _resource(kind: PolicyKind, plural: str, noun: str, key: str | None) -> Resource:
    model = MODELS[kind]
    title = noun.capitalize()
    named: dict[str, Any] = {} if key is None else {key: (Name, Field(description="What it is called, for good."))}
    about: dict[str, Any] = {
        "source": (
            Literal["settings", "admin"],
            Field(description="settings: as the settings file has it; admin: as an admin wrote it, which wins."),
        ),
        "changed_at": (MomentText | None, Field(description="When an admin wrote it.")),
        "changed_by": (str | None, Field(description="Who wrote it.")),
    }
    new = create_model(f"New{title}", __base__=model, __doc__=f"A {noun} to create.", **named)
    shown = create_model(title, __base__=model, __doc__=f"A {noun} as it holds.", **named, **about)
    patch = create_model(
        f"{title}Patch",
        __config__=ConfigDict(extra="forbid", defer_build=True),
        __doc__=f"A JSON merge patch of a {noun}: null takes a key away, so that its default holds.",
        **_patched(model),
    )
    listed = create_model(
        f"{title}List",
        __config__=ConfigDict(extra="forbid", defer_build=True),
        __doc__=f"All of kind {noun}.",
        **_members(plural, shown),
    )
    return Resource(kind, plural, noun, key, model, new, patch, shown, listed)


def _patched(model: type[BaseModel]) -> dict[str, Any]:
    """Every key of a model, as it may stand in a patch: left out, null, or of its type."""
    keys: dict[str, Any] = {}
    for key, info in model.model_fields.items():
        kind: Any = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
        keys[key] = (kind | None, Field(None, description=info.description))
    return keys


def _members(plural: str, shown: type[BaseModel]) -> dict[str, Any]:
    # In the class's own terms, tuple[shown, ...]; a type checker knows no types made at run time.
    return {plural: (tuple.__class_getitem__((shown, ...)), Field(description="By name."))}


RESOURCES: Mapping[PolicyKind, Resource] = {
    PolicyKind.TIER: _resource(PolicyKind.TIER, "tiers", "tier", "name"),
    PolicyKind.CUSTOMER: _resource(PolicyKind.CUSTOMER, "customers", "customer", "name"),
    PolicyKind.BUDGET: _resource(PolicyKind.BUDGET, "budgets", "budget", "name"),
    PolicyKind.PRICING: _resource(PolicyKind.PRICING, PRICING_NAME, "pricing", None),
}
