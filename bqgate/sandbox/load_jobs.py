"""Start load and copy jobs.

jobs.insert comes here with a checked configuration, and for a load with the file that the upload path has put aside.
The warehouse does the work in a worker thread. Both kinds of job are free, as at Google; files in Cloud Storage can not
be reached from a sandbox, so `sourceUris` are refused with 501.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#jobconfigurationload
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bqgate.sandbox.jobs import Job
from bqgate.sandbox.query_work import table_ref
from bqgate.sandbox.replies import ApiError
from bqgate.sandbox.tables import partitioning_of
from bqgate.sandbox.warehouse import Interrupt, LoadOptions, QueryContext, TableRef, fields_from_rest
from bqgate.sandbox.world import Call, World

REFUSED = ("rangePartitioning", "hivePartitioningOptions", "schemaUpdateOptions", "allowJaggedRows")


def start(
    world: World, call: Call, configuration: dict[str, Any], job_id: str, location: str, upload: Path | None
) -> Job:
    """Make the job and set it going.

    Raises:
        ApiError: 400, 409 or 501.
    """
    kind = "load" if "load" in configuration else "copy"
    part = configuration[kind]
    for name in REFUSED:
        if part.get(name):
            raise ApiError(501, "notImplemented", f"The sandbox does not support {name}", location=name)
    destination = table_ref(part.get("destinationTable", {}), call.project)
    job = Job(
        project=call.project,
        location=location or world.settings.default_location,
        id=job_id,
        user_email=call.user.email,
        configuration=configuration,
        type="LOAD" if kind == "load" else "COPY",
        created_at=world.clock.now(),
    )
    if kind == "copy":
        work: LoadWork | CopyWork = CopyWork(world, job, part, destination)
    elif upload is None:
        raise ApiError(501, "notImplemented", "The sandbox loads uploaded files only, not sourceUris")
    else:
        work = LoadWork(world, upload, destination, _options(part))
    world.jobs.add(job)
    world.runner.start(job, work)
    return job


def _options(part: Mapping[str, Any]) -> LoadOptions:
    given: dict[str, Any] = {
        "source_format": part.get("sourceFormat"),
        "schema": fields_from_rest(part["schema"].get("fields", [])) if "schema" in part else None,
        "autodetect": part.get("autodetect"),
        "write_disposition": part.get("writeDisposition"),
        "create_disposition": part.get("createDisposition"),
        "field_delimiter": part.get("fieldDelimiter"),
        "quote": part.get("quote"),
        "null_marker": part.get("nullMarker"),
        "encoding": part.get("encoding"),
        "skip_leading_rows": part.get("skipLeadingRows"),
        "max_bad_records": part.get("maxBadRecords"),
        "allow_quoted_newlines": part.get("allowQuotedNewlines"),
        "ignore_unknown_values": part.get("ignoreUnknownValues"),
        "time_partitioning": partitioning_of(part.get("timePartitioning")),
        "clustering": tuple(part.get("clustering", {}).get("fields", ())) or None,
    }
    return LoadOptions(**{name: value for name, value in given.items() if value is not None})


class LoadWork:
    """Put an uploaded file into a table, and the file away afterwards."""

    def __init__(self, world: World, upload: Path, destination: TableRef, options: LoadOptions) -> None:
        self._world = world
        self._upload = upload
        self._destination = destination
        self._options = options

    def prepare(self, job: Job) -> None:
        """Nothing can be refused before the file is read."""

    def run(self, job: Job) -> None:
        try:
            outcome = self._world.warehouse.load(self._destination, self._upload, self._options)
        finally:
            self._upload.unlink(missing_ok=True)
        job.load = {
            "inputFiles": "1",
            "inputFileBytes": str(outcome.input_bytes),
            "outputRows": str(outcome.rows),
            "outputBytes": str(outcome.output_bytes),
            "badRecords": "0",
        }

    def interrupt(self) -> None:
        """A load is not stopped half-way; it is short."""


class CopyWork:
    """Write the rows of a table, or several, into another one."""

    def __init__(self, world: World, job: Job, part: Mapping[str, Any], destination: TableRef) -> None:
        if part.get("operationType", "COPY") not in {"COPY", "OPERATION_TYPE_UNSPECIFIED"}:
            raise ApiError(501, "notImplemented", f"The sandbox does not support {part['operationType']}")
        sources = part.get("sourceTables") or [part.get("sourceTable", {})]
        self._sources = [table_ref(source, job.project) for source in sources]
        self._world = world
        self._job = job
        self._part = part
        self._destination = destination
        self._interrupt = Interrupt()

    def prepare(self, job: Job) -> None:  # noqa: ARG002 - the shape of every Work
        for source in self._sources:
            self._world.warehouse.get_table(source)

    def run(self, job: Job) -> None:
        rows = 0
        for index, source in enumerate(self._sources):
            first = index == 0
            context = QueryContext(
                project=job.project,
                now=self._world.clock.now(),
                user_email=job.user_email,
                location=job.location,
                destination=self._destination,
                write_disposition=self._part.get("writeDisposition", "WRITE_EMPTY") if first else "WRITE_APPEND",
                create_disposition=self._part.get("createDisposition", "CREATE_IF_NEEDED"),
            )
            text = f"SELECT * FROM `{source.project}`.`{source.dataset}`.`{source.table}`"
            result = self._world.warehouse.execute(text, context, interrupt=self._interrupt)
            rows += len(result.rows)
        job.load = {
            "copiedRows": str(rows),
            "copiedLogicalBytes": str(sum(self._world.warehouse.get_table(each).num_bytes for each in self._sources)),
        }

    def interrupt(self) -> None:
        self._interrupt.interrupt()
