"""Hold together what the handlers of one sandbox share.

The server builds one World at its start and gives it to every handler. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from multidict import MultiMapping

from bqgate.sandbox.clock import Clock
from bqgate.sandbox.faults import Faults
from bqgate.sandbox.jobs import JobStore
from bqgate.sandbox.journal import Journal
from bqgate.sandbox.methods import ApiMethod
from bqgate.sandbox.replies import ApiError
from bqgate.sandbox.result_cache import ResultCache
from bqgate.sandbox.runner import JobRunner
from bqgate.sandbox.settings import SandboxSettings
from bqgate.sandbox.users import User
from bqgate.sandbox.warehouse import Warehouse


@dataclass
class World:
    """The state of one sandbox.

    Attributes:
        dataset_extras: (project, dataset) → parts of the Dataset resource that are kept and shown, nothing more.
        seen_projects: Projects that were called, for projects.list.
    """

    settings: SandboxSettings
    clock: Clock
    warehouse: Warehouse
    jobs: JobStore
    runner: JobRunner
    cache: ResultCache
    faults: Faults
    journal: Journal
    dataset_extras: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    seen_projects: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One call of a method, with everything around HTTP already done.

    Attributes:
        params: The path's parameters.
        body: The parsed JSON; an empty dict when there was none.
        root_url: Where the caller reached the sandbox, for links.
    """

    method: ApiMethod
    params: Mapping[str, str]
    query: MultiMapping[str]
    headers: Mapping[str, str]
    body: Any
    user: User
    root_url: str

    @property
    def project(self) -> str:
        return self.params["projectId"]

    def text(self, name: str, default: str = "") -> str:
        return self.query.get(name, default)

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in {"true", "1"}

    def number(self, name: str) -> int | None:
        """Return a whole, non-negative query parameter; None when it was not given.

        Raises:
            ApiError: 400 `invalidParameter`.
        """
        text = self.query.get(name)
        if text is None or not text.strip():
            return None
        if not text.isdecimal() or len(text) > 19:
            raise ApiError(
                400, "invalidParameter", f"Invalid value for {name}: {text}", location=name, location_type="parameter"
            )
        return int(text)
