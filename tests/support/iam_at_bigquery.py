"""Stand between a gate and the sandbox as IAM stands at BigQuery: each token sees what its account was granted.

Refuses in Google's words: datasets and tables that are not granted, queries that touch such, jobs of others, and
everything in a project where the account may run no jobs. Writes down whose token each call bore. What a query touches
it learns from a dry run of its own.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.recording_upstream import served

_NOT_PASSED = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


@dataclass(frozen=True)
class Grants:
    """What an account may: run jobs in `projects`, and read and write `datasets`, which are (project, dataset)."""

    projects: frozenset[str] = frozenset()
    datasets: frozenset[tuple[str, str]] = frozenset()


@dataclass
class IamAtBigQuery:
    """`users` are accounts by their tokens, `grants` what each may; `calls` tells who called what."""

    sandbox_url: str
    users: dict[str, str]
    grants: dict[str, Grants]
    session: aiohttp.ClientSession
    url: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    refused: list[tuple[str, str, str]] = field(default_factory=list)

    def callers(self, part: str = "") -> set[str]:
        """Who called a path that has this part."""
        return {who for who, _, path in self.calls if part in path}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        who = self.users.get(token, f"nobody ({token})")
        self.calls.append((who, request.method, request.path))
        body = await request.read()
        if token not in self.users:
            return _denied(401, "Request had invalid authentication credentials.")
        refusal = None if "discovery" in request.path else await self._refusal(who, request, body)
        if refusal is not None:
            self.refused.append((who, request.method, request.path))
            return _denied(*refusal)
        if request.method == "GET" and request.path.endswith("/datasets"):
            return await self._datasets(self.grants[who], request)
        headers = [(key, value) for key, value in request.headers.items() if key.lower() not in _NOT_PASSED]
        url = self.sandbox_url + request.raw_path
        try:
            async with self.session.request(
                request.method, url, data=body, headers=headers, allow_redirects=False, skip_auto_headers=_NOT_ADDED
            ) as answer:
                content = await answer.read()
                kept = {key: value for key, value in answer.headers.items() if key.lower() not in _NOT_PASSED}
                return web.Response(status=answer.status, headers=kept, body=content)
        except aiohttp.ClientError:  # what breaks off behind the guard breaks off before it
            assert request.transport is not None
            request.transport.abort()
            raise

    async def _datasets(self, grants: Grants, request: web.Request) -> web.Response:
        """A project's datasets, as far as they are granted."""
        document = await self._ask("GET", request.path.removeprefix("/bigquery/v2/"))
        references = [each["datasetReference"] for each in document.get("datasets", [])]
        shown = [each for each in references if (each["projectId"], each["datasetId"]) in grants.datasets]
        document["datasets"] = [{"datasetReference": each} for each in shown]
        return web.json_response(document)

    async def _refusal(self, who: str, request: web.Request, body: bytes) -> tuple[int, str] | None:
        grants = self.grants.get(who)
        if grants is None:
            return 403, "Access Denied: the account may nothing here"
        parts = request.path.partition("/projects/")[2].split("/")
        project, rest = parts[0], parts[1:]
        match rest:
            case ["datasets", dataset, *_]:
                if (project, dataset) not in grants.datasets:
                    return 403, f"Access Denied: Dataset {project}:{dataset}: Permission denied, or it does not exist."
            case ["datasets"] | []:
                return None
            case ["jobs"] if request.method == "GET":
                if request.query.get("allUsers", "").lower() == "true":
                    return 403, f"Access Denied: Project {project}: User does not have bigquery.jobs.listAll permission"
            case ["jobs" | "queries"]:
                if project not in grants.projects:
                    return 403, f"Access Denied: Project {project}: User does not have bigquery.jobs.create permission"
                return await self._refusal_of_query(grants, project, body)
            case ["jobs" | "queries", job_id, *_]:
                return await self._refusal_of_job(who, project, job_id)
        return None

    async def _refusal_of_query(self, grants: Grants, project: str, body: bytes) -> tuple[int, str] | None:
        document = json.loads(body) if body.startswith(b"{") else {}
        query = document.get("configuration", {}).get("query", document)
        if not isinstance(query.get("query"), str):
            return None
        asked = {key: query[key] for key in ("query", "useLegacySql", "defaultDataset") if key in query}
        plan = await self._ask("POST", f"projects/{project}/jobs", {"configuration": {"dryRun": True, "query": asked}})
        statistics = plan.get("statistics", {}).get("query", {})
        for table in statistics.get("referencedTables", []):
            if (table["projectId"], table["datasetId"]) not in grants.datasets:
                name = f"{table['projectId']}:{table['datasetId']}.{table['tableId']}"
                return 403, f"Access Denied: Table {name}: User does not have permission to query table {name}"
        return None

    async def _refusal_of_job(self, who: str, project: str, job_id: str) -> tuple[int, str] | None:
        job = await self._ask("GET", f"projects/{project}/jobs/{job_id}")
        if job.get("user_email", who) == who:
            return None
        return 403, f"Access Denied: Job {project}:{job_id}: User does not have bigquery.jobs.get permission"

    async def _ask(self, method: str, path: str, document: Any = None) -> dict[str, Any]:
        async with self.session.request(
            method,
            f"{self.sandbox_url}/bigquery/v2/{path}",
            json=document,
            headers={"Authorization": "Bearer iam", "Accept-Encoding": "identity"},
        ) as answer:
            found: dict[str, Any] = await answer.json(content_type=None)
            return found


@asynccontextmanager
async def iam_at_bigquery(
    sandbox_url: str, users: dict[str, str], grants: dict[str, Grants]
) -> AsyncIterator[IamAtBigQuery]:
    """A running guard before a sandbox. `users`, which it shares with the sandbox, gets one more, who may all."""
    users["iam"] = "iam@google.example"
    async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as session:
        guard = IamAtBigQuery(sandbox_url, users, grants, session)
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{tail:.*}", guard.serve)
        async with served(app) as url:
            guard.url = url
            yield guard


def _denied(status: int, message: str) -> web.Response:
    error = {"code": status, "message": message, "errors": [{"reason": "accessDenied", "message": message}]}
    return web.json_response({"error": error}, status=status)
