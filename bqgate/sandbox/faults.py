"""Make the sandbox fail on demand.

Tests add faults through `sandbox.faults` or `POST /sandbox/v1/faults`; the server draws at most one for each call and
does what it says. Five kinds:

    error   answer `status` with `reason` and `message`; nothing is done
    delay   wait `delay_s` by the sandbox's clock, then go on as usual
    cut     do the work, send the head and half of the body, then break the connection
    lost    do the work, then break the connection before the first byte of the answer
    text    answer `status` with `message` as plain text, as a proxy between would

A fault with a rate draws from its own seeded generator, so that a run can be repeated. `delay_s` may be given to every
kind and comes first.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from bqgate.sandbox.replies import ApiError

Kind = Literal["error", "delay", "cut", "lost", "text"]


@dataclass
class Fault:
    """One way to fail.

    Attributes:
        method: A method of the API ("jobs.insert"), "upload", "batch" or an HTTP verb; empty: any.
        path: A regular expression that is searched for in the call's path; empty: any.
        dry_run: True: dry runs only; False: everything but dry runs; None: both.
        rate: Share of the matching calls that fail, 0 to 1.
        count: How often it strikes before it is spent; None: without end.
        hits: How often it struck.
    """

    kind: Kind = "error"
    status: int = 503
    reason: str = "backendError"
    message: str = "Error encountered during execution. Retrying may solve the problem."
    delay_s: float = 0.0
    method: str = ""
    path: str = ""
    dry_run: bool | None = None
    rate: float = 1.0
    count: int | None = None
    seed: int = 0
    id: int = 0
    hits: int = 0
    _random: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - repeatable on purpose

    def strikes(self, method: str, verb: str, path: str, *, is_dry_run: bool) -> bool:
        if self.count is not None and self.hits >= self.count:
            return False
        if self.method and self.method not in {method, verb}:
            return False
        if self.path and not re.search(self.path, path):
            return False
        if self.dry_run is not None and self.dry_run != is_dry_run:
            return False
        return self.rate >= 1 or self._random.random() < self.rate

    def described(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if not name.startswith("_")}


class Faults:
    """The faults that stand."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._last_id = 0

    def add(self, fault: Fault) -> Fault:
        self._last_id += 1
        fault.id = self._last_id
        # A new list, as tests add from another thread while the server walks over the old one.
        self._faults = [*self._faults, fault]
        return fault

    def clear(self) -> None:
        self._faults = []

    def __iter__(self) -> Any:
        return iter(self._faults)

    def draw(self, method: str, verb: str, path: str, *, is_dry_run: bool) -> Fault | None:
        """Return the first fault that strikes this call and count it."""
        for fault in self._faults:
            if fault.strikes(method, verb, path, is_dry_run=is_dry_run):
                fault.hits += 1
                return fault
        return None


def fault_of(body: Mapping[str, Any]) -> Fault:
    """Build a fault from the JSON of the admin endpoint.

    Raises:
        ApiError: 400 for an unknown key, kind or type.
    """
    known = {each.name for each in fields(Fault)} - {"id", "hits", "_random"}
    if unknown := set(body) - known:
        raise ApiError(400, "invalid", f"Unknown keys of a fault: {', '.join(sorted(unknown))}")
    if body.get("kind", "error") not in get_args(Kind):
        raise ApiError(400, "invalid", f"kind is one of {', '.join(get_args(Kind))}")
    types = {"status": (int,), "delay_s": (int, float), "rate": (int, float), "path": (str,), "method": (str,)}
    for name, allowed in types.items():
        if name in body and not isinstance(body[name], allowed):
            raise ApiError(400, "invalid", f"Wrong type of {name}")
    try:
        re.compile(body.get("path", ""))
    except re.error as error:
        raise ApiError(400, "invalid", f"path is not a regular expression: {error}") from error
    return Fault(**body)
