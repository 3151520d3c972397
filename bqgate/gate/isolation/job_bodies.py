"""Judge what a submitted job names in its body, and mark the job as its customer's.

Called by boundary.py with the parsed JSON of jobs.insert and jobs.query, before the query itself is looked at. What
leaves is the document that goes on, with every name that was judged in one spelling, so that BigQuery reads what the
gate has read; or AccessDenied and MalformedRequest. Where the gate stands alone between its customers, a field passes
by its name only (job_fields.py), and only what a job's fields name themselves can be judged: a file that names other
files (a manifest, a Datastore backup) is refused. Reference:
https://cloud.google.com/bigquery/docs/reference/rest/v2/Job (JobConfigurationQuery, Load, TableCopy, Extract).

A request id is made the customer's own, because BigQuery answers a repeated one with the first one's result
(https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query, requestId), and to it all customers are one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from bqgate.domain.data_scope import DataScope
from bqgate.domain.errors import MalformedRequest
from bqgate.gate.isolation.denials import (
    dataset_denied,
    key_denied,
    reservation_denied,
    table_denied,
    uri_denied,
    use_denied,
)
from bqgate.gate.isolation.field_lists import listed
from bqgate.gate.isolation.ids import check_ids
from bqgate.gate.isolation.job_fields import JOB, QUERY_REQUEST
from bqgate.gate.isolation.taken_ids import CHOSEN_CHARS_MAX, has_ending
from bqgate.wire.enumerations import FILE_SET_SPEC_TYPE, SOURCE_FORMAT, settle_enumerations
from bqgate.wire.fields import camel_keys, flag_at, object_at, text_at, wrong_type
from bqgate.wire.job_labels import CUSTOMER_LABEL, GATE_LABEL_PREFIX, MAX_LABELS, is_gates, labels_at, too_many_labels

# Others decide in whose name, in whose session or by which default names are read.
_CONNECTION_PROPERTIES = frozenset({"time_zone", "query_label"})
_URI_FIELDS = ("referenceFileSchemaUri", "destinationUri")
_URI_LISTS = ("sourceUris", "destinationUris")
_REQUEST_ID_MAX = 36
_IDS = ("datasetId", "tableId", "modelId")
_TABLES = ("sourceTable", "destinationTable", "sourceModel")


@dataclass(frozen=True, slots=True)
class JobBody:
    """Judges the bodies of one customer's jobs in one project.

    `owner` is the value of the customer's label; None: BigQuery's IAM tells callers apart, and only the names of data
    are judged.
    """

    scope: DataScope
    project_id: str
    owner: str | None

    def judged(self, method_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document as it may go on.

        Raises:
            AccessDenied: it names what is not in scope, or uses what would lead past isolation.
            MalformedRequest: a field that must be judged is not what it should be.
        """
        is_query = method_id == "jobs.query"
        if self.owner is None:
            body = camel_keys(document, path="")
        else:
            body = listed(document, QUERY_REQUEST if is_query else JOB)
        if is_query:
            self._reservation(body, "")
            self._judge_query(body, "")
            self._own_request_id(body)
            self._label(body, "")
            return body
        self._check_reference(body)
        configuration = object_at(body, "configuration")
        if configuration is None:
            return body  # parsing says what is missing
        body["configuration"] = configuration
        self._reservation(configuration, "configuration.")
        for kind in ("query", "load", "copy", "extract"):
            part = object_at(configuration, kind, path="configuration.")
            if part is None:
                continue
            configuration[kind] = part
            path = f"configuration.{kind}."
            if kind == "query":
                self._judge_query(part, path)
            else:
                self._judge_transfer(part, path)
        self._label(configuration, "configuration.")
        return body

    def _check_reference(self, body: dict[str, Any]) -> None:
        reference = object_at(body, "jobReference")
        if reference is None:
            return
        body["jobReference"] = reference
        job_id = text_at(reference, "jobId", path="jobReference.")
        if self.owner is not None and job_id is not None and has_ending(job_id):
            raise MalformedRequest(
                f'Invalid job ID "{job_id[:64]}": such an ending is bqgate\'s.', field="jobReference.jobId"
            )
        is_shared = self.owner is not None and not self.scope.has_alone(self.project_id)
        if is_shared and job_id is not None and len(job_id) > CHOSEN_CHARS_MAX:
            raise MalformedRequest(
                f'Invalid job ID "{job_id[:64]}": in a project of several customers it must be at most '
                f"{CHOSEN_CHARS_MAX} characters long.",
                field="jobReference.jobId",
            )
        named = text_at(reference, "projectId", path="jobReference.")
        if named not in {None, self.project_id}:
            raise MalformedRequest(
                f"jobReference.projectId is {named}, but the request is for project {self.project_id}.",
                field="jobReference.projectId",
            )

    def _judge_query(self, query: dict[str, Any], path: str) -> None:
        self._table(query, "destinationTable", path)
        if self.owner is None:
            return
        self._connection(query, path)
        self._encryption(query, path)
        default = object_at(query, "defaultDataset", path=path)
        if default is not None:
            query["defaultDataset"] = default
            self._dataset_of(default, f"{path}defaultDataset.")
        resources = self._objects(query, "userDefinedFunctionResources", path)
        for resource in resources:
            self._uri(text_at(resource, "resourceUri", path=f"{path}userDefinedFunctionResources."))

    def _judge_transfer(self, part: dict[str, Any], path: str) -> None:
        """Load, copy and extract jobs."""
        for name in _TABLES:
            self._table(part, name, path)
        for reference in self._objects(part, "sourceTables", path):
            self._table_of(reference, f"{path}sourceTables.")
        if self.owner is None:
            return
        self._connection(part, path)
        self._encryption(part, path)
        _check_files(part, path)
        for name in _URI_FIELDS:
            self._uri(text_at(part, name, path=path))
        for name in _URI_LISTS:
            uris = part.get(name)
            if uris is not None and not (isinstance(uris, list) and all(isinstance(uri, str) for uri in uris)):
                raise wrong_type(f"{path}{name}", "a list of strings")
            for uri in uris or ():
                self._uri(uri)
        hive = object_at(part, "hivePartitioningOptions", path=path)
        if hive is not None:
            part["hivePartitioningOptions"] = hive
            prefix = text_at(hive, "sourceUriPrefix", path=path)
            self._uri(None if prefix is None else prefix.rstrip("/"))

    def _connection(self, part: dict[str, Any], path: str) -> None:
        if flag_at(part, "createSession", path=path):
            raise use_denied("Sessions (createSession), which would be everybody's,")
        for item in self._objects(part, "connectionProperties", path):
            key = text_at(item, "key", path=f"{path}connectionProperties.")
            value = text_at(item, "value", path=f"{path}connectionProperties.") or ""
            if key not in _CONNECTION_PROPERTIES:
                raise use_denied(f"The connection property {str(key)[:64]}")
            if key == "query_label" and GATE_LABEL_PREFIX in value.lower():
                raise use_denied(f"A query_label that begins with {GATE_LABEL_PREFIX}")

    def _encryption(self, part: dict[str, Any], path: str) -> None:
        encryption = object_at(part, "destinationEncryptionConfiguration", path=path)
        if encryption is None:
            return
        part["destinationEncryptionConfiguration"] = encryption
        key = text_at(encryption, "kmsKeyName", path=f"{path}destinationEncryptionConfiguration.")
        if key is not None and not self.scope.allows_key(key):
            raise key_denied(key)

    def _reservation(self, part: dict[str, Any], path: str) -> None:
        reservation = text_at(part, "reservation", path=path)
        if self.owner is not None and reservation is not None and not self.scope.allows_reservation(reservation):
            raise reservation_denied(reservation)

    def _table(self, part: dict[str, Any], name: str, path: str) -> None:
        reference = object_at(part, name, path=path)
        if reference is not None:
            part[name] = reference
            self._table_of(reference, f"{path}{name}.")

    def _table_of(self, reference: Mapping[str, Any], path: str) -> None:
        project, dataset = self._names(reference, path)
        leaf = text_at(reference, "tableId", path=path) or text_at(reference, "modelId", path=path) or ""
        if not self.scope.allows_dataset(project, dataset):
            raise table_denied(f"{project}.{dataset}.{leaf}")

    def _dataset_of(self, reference: Mapping[str, Any], path: str) -> None:
        project, dataset = self._names(reference, path)
        if not self.scope.allows_dataset(project, dataset):
            raise dataset_denied(project, dataset, "bigquery.datasets.get")

    def _names(self, reference: Mapping[str, Any], path: str) -> tuple[str, str]:
        """Project and dataset; without a project it is the job's."""
        if self.owner is not None:
            check_ids({name: text_at(reference, name, path=path) for name in _IDS}, path=path)
        dataset = text_at(reference, "datasetId", path=path)
        if dataset is None:
            raise MalformedRequest(
                "Required parameter is missing: datasetId", reason="required", field=f"{path}datasetId"
            )
        return text_at(reference, "projectId", path=path) or self.project_id, dataset

    def _objects(self, part: dict[str, Any], name: str, path: str) -> list[dict[str, Any]]:
        """The objects of a list, in one spelling from here on."""
        items = part.get(name)
        if items is None:
            return []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise wrong_type(f"{path}{name}", "a list of objects")
        part[name] = [camel_keys(item, path=f"{path}{name}.") for item in items]
        return list(part[name])

    def _uri(self, uri: str | None) -> None:
        if uri is not None and not self.scope.allows_uri(uri):
            raise uri_denied(uri)

    def _own_request_id(self, body: dict[str, Any]) -> None:
        request_id = text_at(body, "requestId")
        if self.owner is not None and request_id is not None and len(request_id) <= _REQUEST_ID_MAX:
            body["requestId"] = sha256(f"{self.owner}:{request_id}".encode()).hexdigest()[:_REQUEST_ID_MAX]

    def _label(self, holder: dict[str, Any], path: str) -> None:
        if self.owner is None:
            return
        labels = labels_at(holder, path=path)
        own = {key: value for key, value in labels.items() if not is_gates(key)}
        if len(own) >= MAX_LABELS:
            raise too_many_labels(f"this job has {len(own)}, and bqgate adds 1 that says whose it is", path)
        holder["labels"] = {**own, CUSTOMER_LABEL: self.owner}


def _check_files(part: dict[str, Any], path: str) -> None:
    """Return when what is loaded are the files that sourceUris name, and no others that these name in their turn."""
    kinds = (FILE_SET_SPEC_TYPE, SOURCE_FORMAT)
    settle_enumerations(part, kinds, path=path)
    for kind in kinds:
        value = part.get(kind.field)
        if value is not None and value not in kind.names:
            raise use_denied(f"The {kind.field} {value[:64]}")
