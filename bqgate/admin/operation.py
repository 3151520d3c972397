"""Describe one operation of the control plane: method, path, who answers, what comes in and what goes out.

Each class of views offers its operations; routes mounts them, permissions says who may, rate_limits how often, openapi
writes them down. One description for all of them, so that the document cannot say what the gate does not do.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from aiohttp import web
from pydantic import BaseModel

from bqgate.domain.principal import Identity

View = Callable[[web.Request, Identity], Awaitable[web.Response]]


class RateClass(StrEnum):
    """Operations that share one allowance; rate_limits.RateLimits has the numbers."""

    COSTS = "costs"
    BUDGET_CHECKS = "budget_checks"
    ANALYTICS = "analytics"
    REPORTS = "reports"
    OTHER = "other"
    UNLIMITED = "unlimited"


class Place(StrEnum):
    """Where a parameter stands, in OpenAPI's words."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `schema` is JSON Schema; those of the path are always required."""

    name: str
    description: str
    place: Place = Place.QUERY
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of an operation. Without a model it has no JSON: `media_type` "" is an empty body.

    `model` is what the body is; None with a media type: text of that type. `headers` maps names to descriptions.
    """

    description: str
    model: type[BaseModel] | None = None
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    `id` is its row in permissions.PERMISSIONS. `path` is an OpenAPI template, in which each {name} is one segment or a
    part of one. A parameter `customer`, in the path or the query, is what own-customer roles are bound to. `answers`
    names what only this operation says; openapi adds what the framework can answer (400, 401, 403, 408, 413, 415,
    429, 503).
    """

    id: str
    method: str
    path: str
    summary: str
    tag: str
    view: View
    rate: RateClass = RateClass.OTHER
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    body_types: tuple[str, ...] = ("application/json",)
    answers: Mapping[int, Answered] = field(default_factory=dict)

    @property
    def customer_place(self) -> Place | None:
        """Where the request names a customer; None: it names none."""
        return next((each.place for each in self.parameters if each.name == "customer"), None)


class Views(Protocol):
    """Whoever answers some operations."""

    def operations(self) -> tuple[Operation, ...]:
        """What it answers."""


def operations_of(views: Sequence[Views]) -> tuple[Operation, ...]:
    """The operations of several views, in order."""
    return tuple(operation for each in views for operation in each.operations())
