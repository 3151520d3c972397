"""Look at booked jobs and refusals by the control plane: ``bqgate jobs``, ``bqgate jobs show ID``."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from bqgate.cli.client import Caller, KeyFile, OfCustomer, OfPrincipal, TokenStdin, Url, connected
from bqgate.cli.job_names import name_of
from bqgate.cli.tables import AsJson, print_json, print_list, print_one, shown_usd

_PATH = "/v1/jobs"
_PAGE_SIZE_MAX = 1_000
_COLUMNS = (
    "booked_at",
    "customer",
    "principal",
    "origin",
    "decision",
    "outcome",
    "reason",
    "cost_usd",
    "estimate_usd",
    "job",
    "id",
)
_MONEY = ("cost_usd", "estimate_usd", "hold_usd")

jobs = typer.Typer(name="jobs", help="Jobs and refusals: what each cost, and why.", invoke_without_command=True)


@jobs.callback()
def list_jobs(  # noqa: PLR0913 - the options of a command
    context: typer.Context,
    *,
    customer: OfCustomer = None,
    principal: OfPrincipal = None,
    project: Annotated[
        str | None, typer.Option(help="In this project; without it, in all.", show_default=False)
    ] = None,
    workload: Annotated[
        str | None, typer.Option(help="Of this workload; without it, of all.", show_default=False)
    ] = None,
    origin: Annotated[
        Literal["gate", "bypass", "metered", "own"] | None,
        typer.Option(help="Through the gate only, or past it; without it, all.", show_default=False),
    ] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Refusals only.")] = False,
    since: Annotated[
        str | None,
        typer.Option(help="Booked since a moment or a day of UTC; without it, since ever.", show_default=False),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="Booked before a moment, or until the end of a day of UTC; else until now.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many lines at most.")] = 50,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """Jobs and refusals: what each cost, and why.

    Without a command they are listed, newest first.
    """
    if context.invoked_subcommand is not None:
        return
    wanted = {
        "customer": customer,
        "principal": principal,
        "project_id": project,
        "workload": workload,
        "origin": origin,
        "kind": "refusal" if refused else None,
        "since": _moment_of(since),
        "until": _moment_of(until, is_end=True),
        "page_size": str(min(limit, _PAGE_SIZE_MAX)),
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    with connected(Caller(url, key_file, token_stdin)) as plane:
        found = list(islice(plane.items(_PATH, "jobs", **given), limit))
    print_list(found if as_json else [_row_of(entry) for entry in found], _COLUMNS, as_json=as_json)


@jobs.command("show")
def show_job(
    job_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="BigQuery's job id (acme-prod:US.job_1, or job_1 where it has no namesake), or the id that a refusal "
            "or X-Bqgate-Request-Id says.",
            show_default=False,
        ),
    ],
    *,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """Show one job or refusal, by any of its names."""
    with connected(Caller(url, key_file, token_stdin)) as plane:
        found = plane.read(f"{_PATH}/{quote(job_id, safe='')}").content
    if as_json:
        print_json(found)
        return
    lines: dict[str, Any] = {"state": found["state"]}
    for entry in found["entries"]:
        # The first line is the job's own; later ones correct its cost.
        lines = {**_row_of(entry), **lines}
    if found["hold"] is not None:
        lines |= _row_of(found["hold"]) | {"amount_usd": shown_usd(found["hold"]["amount_usd"])}
    lines["cost_usd"] = shown_usd(found["cost_usd"])
    print_one({name: lines[name] for name in sorted(lines, key=_place_of)}, as_json=False)


def _row_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the ledger, or a hold, with amounts and the job's name as people read them."""
    money = {name: shown_usd(entry[name]) for name in _MONEY if name in entry}
    # What refusals and X-Bqgate-Request-Id say; of a job it is its hold's.
    return {**entry, **money, "id": entry.get("hold_id") or entry["id"], "job": name_of(entry["job"])}


_FIRST = ("state", "job", "id", "cost_usd", "estimate_usd", "decision", "reason", "outcome")


def _place_of(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _moment_of(text: str | None, *, is_end: bool = False) -> str | None:
    """A moment as the API takes it; a day begins or ends at midnight of UTC."""
    try:
        day = None if text is None else date.fromisoformat(text)
    except ValueError:
        return text
    if day is None:
        return None
    try:
        begin = datetime.combine(day + timedelta(days=1) if is_end else day, time(), tzinfo=UTC)
    except OverflowError:
        return text
    return begin.isoformat()
