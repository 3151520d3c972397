"""Play BigQuery where it only tells whose a token is: a ports.BigQuery that answers dry runs and counts them.

It stands for a system outside of the gate, with Google's refusals: 401 speaks of a token, 403 of a project.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bqgate.domain.errors import UpstreamRefused, UpstreamUnavailable
from bqgate.domain.job import Estimate, Job, JobRef, Usage
from bqgate.domain.principal import Credential
from bqgate.wire.error_reply import error_body


@dataclass
class ScriptedGoogle:
    """BigQuery as far as it tells whose a token is; projects may be shut, or asked for by number; answers may wait."""

    emails: dict[str, str | None] = field(
        default_factory=lambda: {"ya29.ann-secret": "ann@acme.example", "ya29.bob-secret": "bob@beta.example"}
    )
    shut_projects: set[str] = field(default_factory=set)
    ids: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    has_been_asked: asyncio.Event = field(default_factory=asyncio.Event)
    refusal_bytes: int = 0
    is_away: bool = False

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def dry_run(self, *, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        token = str(credential.authorization).partition(" ")[2]
        self.asked.append((project_id, token))
        self.bodies.append(body)
        self.has_been_asked.set()
        await self.may_answer.wait()
        if self.is_away:
            raise UpstreamUnavailable("away")
        if token not in self.emails:
            refusal = error_body(401, "authError", "Invalid Credentials") + b" " * self.refusal_bytes
            raise UpstreamRefused(401, refusal, challenge='Bearer error="invalid_token"')
        if project_id in self.shut_projects:
            raise UpstreamRefused(403, error_body(403, "accessDenied", "Access Denied"))
        return Estimate(0, "SELECT", 0, user_email=self.emails[token], project_id=self.ids.get(project_id, project_id))

    async def fetch_job(self, job: JobRef, *, credential: Credential | None) -> Job:
        """Nobody asks for jobs here."""
        raise AssertionError(job)

    async def fetch_children(self, job: JobRef, *, credential: Credential | None) -> tuple[Usage, ...]:
        """Nor for those of scripts' statements."""
        raise AssertionError(job)

    async def find_job(
        self, *, project_id: str, hold_id: str, since: datetime, credential: Credential | None
    ) -> JobRef | None:
        """Nobody asks for jobs here."""
        raise AssertionError(hold_id)
