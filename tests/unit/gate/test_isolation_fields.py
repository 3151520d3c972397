import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import googleapiclient.discovery_cache
import pytest

from bqgate.domain.data_scope import DataScope
from bqgate.domain.errors import AccessDenied, MalformedRequest
from bqgate.domain.tier import Customer, Tier
from bqgate.gate.isolation.field_lists import Field, MapOf, listed
from bqgate.gate.isolation.job_bodies import JobBody
from bqgate.gate.isolation.job_fields import JOB, QUERY_REQUEST
from bqgate.gate.isolation.resource_fields import ARGUMENTS, DATASET_FIELDS, MODEL_FIELDS, ROUTINE_FIELDS, TABLE_FIELDS

SCHEMAS = json.loads(
    (Path(googleapiclient.discovery_cache.__file__).parent / "documents" / "bigquery.v2.json").read_text()
)["schemas"]
ACME = Customer(
    "acme",
    Tier("standard", 10, 300, 50),
    projects=("acme-prod", "example.com:acme"),
    data=("hub.acme", "lent", "gs://acme/in"),
    reservations=("projects/ops/locations/US/reservations/acme",),
)
BODY = JobBody(DataScope.of(ACME, {"hub"}), "acme-prod", "0123456789abcdef")
OWN = {"datasetId": "d", "tableId": "t"}
KEY = "projects/{}/locations/us/keyRings/r/cryptoKeys/k"
RESERVATION = "projects/{}/locations/US/reservations/r"


def insert(kind: str, part: Any, **configuration: Any) -> dict[str, Any]:
    """A Job of one kind, judged for acme."""
    if kind == "query":
        part = {"query": "SELECT 1", **part}
    return BODY.judged("jobs.insert", {"configuration": {kind: part, **configuration}})


def fields_of(schema: Any, fields: Any, path: str) -> Iterator[tuple[str, bool]]:
    """Each field of one of Google's schemas, and whether the list has it."""
    while "$ref" in schema or "items" in schema:
        schema = SCHEMAS[schema["$ref"]] if "$ref" in schema else schema["items"]
    if isinstance(fields, MapOf):
        return
    for name, part in schema.get("properties", {}).items():
        below = fields.get(name)
        yield f"{path}.{name}", below is not None and below is not Field.EMPTY
        if isinstance(below, Mapping) and path.count(".") < 6:
            yield from fields_of(part, below, f"{path}.{name}")


LEFT_OUT = {
    # of jobs
    *("query.secureContext", "configuration.query.secureContext", "configuration.query.tableDefinitions"),
    *("configuration.extract.secureContext", "user_email", "principal_subject"),
    # of schemas
    *("schema.fields.generatedColumn", "schema.fields.dataGovernanceTagsInfo"),
    # of resources
    *("dataset.access", "dataset.catalogSource", "dataset.externalCatalogDatasetOptions"),
    *("dataset.externalDatasetReference", "dataset.linkedDatasetMetadata", "dataset.linkedDatasetSource"),
    *("dataset.resourceTags", "dataset.restrictions", "dataset.tags"),
    *("table.biglakeConfiguration", "table.cloneDefinition", "table.externalCatalogTableOptions"),
    *("table.externalDataConfiguration", "table.managedTableType", "table.materializedViewStatus", "table.model"),
    *("table.partitionDefinition", "table.replicas", "table.resourceTags", "table.restrictions"),
    *("table.snapshotDefinition", "table.tableReplicationInfo", "table.view.foreignDefinitions"),
    *("table.view.privacyPolicy", "table.view.userDefinedFunctionResources"),
    *("routine.dataGovernanceType", "routine.externalRuntimeOptions", "routine.importedLibraries"),
    *("routine.pythonOptions", "routine.remoteFunctionOptions", "routine.securityMode", "routine.sparkOptions"),
}
# A trained model's results: nobody sets them.
OF_MODELS = {"description", "encryptionConfiguration", "expirationTime", "friendlyName", "labels", "modelReference"}


@pytest.mark.parametrize(
    ("name", "fields", "path"),
    [
        ("QueryRequest", QUERY_REQUEST, "query"),
        ("Job", JOB, "job"),
        ("Dataset", DATASET_FIELDS, "dataset"),
        ("Table", TABLE_FIELDS, "table"),
        ("Routine", ROUTINE_FIELDS, "routine"),
        ("TableDataInsertAllRequest", ARGUMENTS["tabledata.insertAll"], "rows"),
    ],
)
def test_the_lists_have_googles_fields_but_for_those_that_are_left_out(name: str, fields: Any, path: str) -> None:
    """A field that is new to the discovery document is found here, and refused until somebody has looked at it."""
    missing = {
        field.removeprefix("job.") for field, is_listed in fields_of(SCHEMAS[name], fields, path) if not is_listed
    }
    missing -= {field for field in missing for one in LEFT_OUT if field == one or field.endswith(f".{one}")}
    columns = {field for field in missing if ".fields.fields" in field}  # columns of columns, again
    assert set() == missing - columns


def test_of_a_model_only_what_can_be_changed_is_listed() -> None:
    """models.patch changes little."""
    assert OF_MODELS <= MODEL_FIELDS.keys()
    assert "remoteModelInfo" not in MODEL_FIELDS


UNKNOWN: list[tuple[str, dict[str, Any]]] = [
    ("query", {"external_table_definitions": {"x": {"sourceUris": ["gs://globex/a"]}}}),
    ("query", {"externalTableDefinitions": {"x": {}}}),
    ("query", {"table_definitions": {"x": {"sourceUris": ["gs://acme/in/a"]}}}),
    ("query", {"tableDefinitions": {"x": {"connectionId": "globex.us.c"}}}),
    ("query", {"TableDefinitions": {}}),
    ("query", {"newer": True}),
    ("query", {"secureContext": {"secureParameterEntries": {"user": "globex"}}}),
    ("query", {"defaultDataset": {"datasetId": "d", "catalogId": "globex"}}),
    ("query", {"destinationTable": {**OWN, "project": "globex"}}),
    ("query", {"queryParameters": [{"name": "p", "parameterValue": {"structValues": {"a": {"uri": "x"}}}}]}),
    ("load", {"destinationTable": OWN, "connectionId": "globex.us.c"}),
    ("load", {"destinationTable": OWN, "thriftOptions": {}}),
    ("load", {"destinationTable": OWN, "hivePartitioningOptions": {"source_uri": "gs://globex/a"}}),
    ("load", {"destinationTable": OWN, "schema": {"fields": [{"name": "a", "generatedColumn": {"x": 1}}]}}),
    ("load", {"destinationTable": OWN, "schema": {"fields": [{"name": "a", "fields": [{"newer": 1}]}]}}),
    ("copy", {"sourceTable": OWN, "destinationTable": OWN, "snapshotDefinition": {}}),
    ("extract", {"sourceTable": OWN, "destinationUris": [], "secureContext": {"secureParameterEntries": {"a": 1}}}),
    ("link", {"sourceUri": ["gs://globex/a"]}),
]


@pytest.mark.parametrize(("kind", "part"), UNKNOWN)
def test_a_field_that_is_not_listed_is_refused(kind: str, part: dict[str, Any]) -> None:
    """At every depth, in every kind of job, whatever it would have meant."""
    with pytest.raises(AccessDenied, match=r"^Access Denied: The field "):
        insert(kind, part)


@pytest.mark.parametrize("fields", [{"tableDefinitions": {"x": {}}}, {"projectId": "globex"}, {"configuration": {}}])
def test_jobs_query_has_a_list_of_its_own(fields: dict[str, Any]) -> None:
    """Its fields are not those of a job."""
    with pytest.raises(AccessDenied):
        BODY.judged("jobs.query", {"query": "SELECT 1", **fields})


@pytest.mark.parametrize(
    "part",
    [
        {"defaultDataset": [{"datasetId": "d"}, {"projectId": "globex", "datasetId": "d"}]},
        {"defaultDataset": "globex.d"},
        {"destinationTable": [OWN]},
        {"destinationEncryptionConfiguration": [{"kmsKeyName": KEY.format("globex")}]},
        {"destinationEncryptionConfiguration": {"kmsKeyName": {"a": 1}}},
        {"createSession": {"value": True}},
        {"priority": {"x": "BATCH"}},
        {"clustering": {"fields": [["a"]]}},
    ],
)
def test_a_field_of_another_kind_is_malformed(part: dict[str, Any]) -> None:
    """Nobody says how BigQuery reads a list where there is an object, or an object where there is a value."""
    with pytest.raises(MalformedRequest):
        insert("query", part)


def test_deep_nesting_is_judged_or_refused_and_never_a_failure() -> None:
    """As deep as a body may be at all: the name at its end is found."""
    parameter: dict[str, Any] = {"uri": "x"}
    for _ in range(190):
        parameter = {"arrayType": parameter}
    with pytest.raises(AccessDenied):
        insert("query", {"queryParameters": [{"parameterType": parameter}]})


@pytest.mark.parametrize("kind", ["query", "load", "copy"])
@pytest.mark.parametrize(
    ("key", "is_own"),
    [
        (KEY.format("acme-prod"), True),
        (KEY.format("ACME-prod"), True),
        (KEY.format("example.com:acme"), True),
        ("", True),
        (KEY.format("globex"), False),
        (KEY.format("hub"), False),  # everybody's
        (KEY.format("lent"), False),
        (KEY.format("acme-prod/../globex"), False),
        (f"/{KEY.format('acme-prod')}", False),
        (f"{KEY.format('acme-prod')}/../../{KEY.format('globex')}", False),
        ("//cloudkms.googleapis.com/" + KEY.format("globex"), False),
        (KEY.format("acme-prod") + "\n" + KEY.format("globex"), False),
        ("projects/acme-prod", False),
    ],
)
def test_a_key_is_one_of_the_customers_own_projects(kind: str, key: str, is_own: bool) -> None:
    """What is made under another's key is theirs to lock, and to be billed for."""
    part = {"copy": {"sourceTable": OWN}}.get(kind, {}) | {"destinationTable": OWN}
    part["destination_encryption_configuration"] = {"kms_key_name": key}
    if not is_own:
        with pytest.raises(AccessDenied, match="Key "):
            insert(kind, part)
        return
    judged = insert(kind, part)["configuration"][kind]
    assert {"kmsKeyName": key} == judged["destinationEncryptionConfiguration"]


@pytest.mark.parametrize(
    ("name", "is_own"),
    [
        ("projects/ops/locations/us/reservations/ACME", True),
        (RESERVATION.format("acme-prod"), True),
        ("none", True),
        (RESERVATION.format("ops"), False),
        (RESERVATION.format("globex"), False),
        (RESERVATION.format("hub"), False),
        ("ops:US.acme", False),
    ],
)
def test_a_reservation_is_listed_or_the_customers_own(name: str, is_own: bool) -> None:
    """For every kind of job: its slots are somebody's."""
    jobs: list[tuple[str, dict[str, Any]]] = [
        ("query", {}),
        ("load", {"destinationTable": OWN}),
        ("extract", {"sourceTable": OWN}),
    ]
    for kind, part in jobs:
        with nullcontext() if is_own else pytest.raises(AccessDenied, match="Reservation "):
            insert(kind, part, reservation=name)
    with nullcontext() if is_own else pytest.raises(AccessDenied, match="Reservation "):
        BODY.judged("jobs.query", {"query": "SELECT 1", "reservation": name})


@pytest.mark.parametrize(
    "part",
    [
        {"fileSetSpecType": "FILE_SET_SPEC_TYPE_NEW_LINE_DELIMITED_MANIFEST"},
        {"file_set_spec_type": "file-set-spec-type-new-line-delimited-manifest"},
        {"fileSetSpecType": "fileSetSpecTypeNewLineDelimitedManifest"},
        {"fileSetSpecType": 1},
        {"fileSetSpecType": "1"},
        {"fileSetSpecType": ["FILE_SET_SPEC_TYPE_NEW_LINE_DELIMITED_MANIFEST"]},
        {"fileSetSpecType": "newer"},
        {"sourceFormat": "DATASTORE_BACKUP"},
        {"sourceFormat": "datastore_backup"},
        {"sourceFormat": "ICEBERG"},
        {"sourceFormat": "DELTA_LAKE"},
        {"sourceFormat": "GOOGLE_SHEETS"},
    ],
)
def test_a_file_that_names_other_files_is_not_loaded(part: dict[str, Any]) -> None:
    """A manifest, a backup's or a lake's metadata in an own bucket could name any bucket."""
    with pytest.raises((AccessDenied, MalformedRequest)):
        insert("load", {"destinationTable": OWN, "sourceUris": ["gs://acme/in/x"], **part})


@pytest.mark.parametrize("part", [{"fileSetSpecType": 0}, {"fileSetSpecType": ""}, {"sourceFormat": "parquet"}, {}])
def test_files_that_are_data_are_loaded(part: dict[str, Any]) -> None:
    """The usual kinds, in whatever spelling."""
    insert("load", {"destinationTable": OWN, "sourceUris": ["gs://acme/in/x"], **part})


@pytest.mark.parametrize(
    "uri",
    [
        "gs://acme/inn/x",
        "gs://acme/in/../../globex/x",
        "gs://acme/in/x\ngs://globex/x",
        "gs://acme/in/x\rgs://globex/x",
        " gs://acme/in/x",
        "GS://acme/in/x",
        "gs://acme@globex/in/x",
        "https://storage.googleapis.com/acme/in/x",
        "https://drive.google.com/open?id=1",
    ],
)
@pytest.mark.parametrize("field", ["load", "extract", "library"])
def test_an_address_of_a_file_has_one_reading(uri: str, field: str) -> None:
    """Lists, other schemes and ways out of a folder are no addresses within it."""
    parts = {
        "load": ("load", {"destinationTable": OWN, "sourceUris": ["gs://acme/in/a", uri]}),
        "extract": ("extract", {"sourceTable": OWN, "destinationUris": [uri]}),
        "library": ("query", {"userDefinedFunctionResources": [{"inline_code": ""}, {"resource_uri": uri}]}),
    }
    with pytest.raises(AccessDenied):
        insert(*parts[field])


BAD_DATASETS = [
    "globex:ds",
    "globex.ds",
    "d.t",
    "d`",
    "`d`",
    "d d",
    " d",
    "d\n",
    "d/e",
    "d*",
    "д",
    "INFORMATION_SCHEMA",
]


@pytest.mark.parametrize("dataset", [*BAD_DATASETS, "region-us", "d" * 1025])
@pytest.mark.parametrize("field", ["defaultDataset", "destinationTable", "sourceTables", "sourceModel"])
def test_a_datasets_id_is_one_name(dataset: str, field: str) -> None:
    """What has a separator in it might be another project's for BigQuery, whatever project stands beside it."""
    reference = {"project_id": "acme-prod", "dataset_id": dataset}
    jobs: dict[str, tuple[str, dict[str, Any]]] = {
        "defaultDataset": ("query", {"defaultDataset": reference}),
        "destinationTable": ("query", {"destinationTable": reference}),
        "sourceTables": ("copy", {"sourceTables": [OWN, {**reference, "tableId": "t"}], "destinationTable": OWN}),
        "sourceModel": ("extract", {"sourceModel": {**reference, "modelId": "m"}, "destinationUris": []}),
    }
    with pytest.raises(MalformedRequest, match="Invalid dataset ID"):
        insert(*jobs[field])
    with pytest.raises(MalformedRequest, match="Invalid dataset ID"):
        BODY.judged("jobs.query", {"query": "SELECT 1", "default_dataset": reference})


@pytest.mark.parametrize(
    "table", ["globex.ds.t", "ds.t", "globex:ds.t", "t`", "t;DROP", "t/x", "t\n", "t\u200b", "$20240101", "", "é" * 600]
)
def test_a_tables_id_is_one_name(table: str) -> None:
    """Also with what may stand behind a name; an absent one is BigQuery's to refuse."""
    part = {"sourceTable": {**OWN, "tableId": table}, "destinationTable": OWN}
    if not table:
        insert("copy", part)
        return
    with pytest.raises(MalformedRequest, match="Invalid table ID"):
        insert("copy", part)


@pytest.mark.parametrize(
    "table",
    ["t", "t-1", "Umsätze 2024", "表", "t$20240101", "t$__NULL__", "t@-3600000-", "t$20240101@1700000000000", "e_*"],
)
def test_tables_may_be_called_as_google_says(table: str) -> None:
    """Letters, marks and numbers of every script, connectors, dashes and spaces; decorators and a wildcard."""
    insert("copy", {"sourceTable": {**OWN, "tableId": table}, "destinationTable": OWN})


def test_what_a_fetched_job_has_besides_is_left_out() -> None:
    """A client may hand back a job as it came; BigQuery says these fields itself, so they are not sent."""
    shown = {
        **dict.fromkeys(("kind", "id", "etag", "selfLink", "user_email", "principal_subject"), "x"),
        "jobCreationReason": {"code": "REQUESTED"},
        "status": {"state": "DONE"},
        "statistics": {"query": {"referencedTables": [{"projectId": "globex"}]}},
    }
    part = {"query": "SELECT 1", "systemVariables": {"values": {"query_label": "x"}}, "tableDefinitions": {}}
    job = {**shown, "jobReference": {"jobId": "j"}, "configuration": {"jobType": "QUERY", "query": part}}
    judged = BODY.judged("jobs.insert", job)
    assert {"jobReference", "configuration"} == judged.keys()
    assert {"query": {"query": "SELECT 1"}, "labels": {"bqgate_customer": BODY.owner}} == judged["configuration"]


def test_what_nodes_client_leaves_in_a_job_is_read_over() -> None:
    """Its own options for the reading of rows stand in the query; BigQuery reads over them, too."""
    options = {"wrapIntegers": True, "types": {"a": "INT64"}, "parseJSON": True, "maxResults": 10}
    assert {"query": "SELECT 1"} == insert("query", options)["configuration"]["query"]


def test_what_clients_send_goes_on_as_it_came() -> None:
    """Every listed field of a query, by both methods, and of a load job."""
    request = {
        "query": "SELECT @a",
        "parameterMode": "NAMED",
        "queryParameters": [
            {
                "name": "a",
                "parameterType": {"type": "STRUCT", "structTypes": [{"name": "b_c", "type": {"type": "INT64"}}]},
                "parameterValue": {"structValues": {"b_c": {"value": "1"}}},
            }
        ],
        "connectionProperties": [{"key": "time_zone", "value": "UTC"}],
        "formatOptions": {"useInt64Timestamp": True},
        "jobCreationMode": "JOB_CREATION_OPTIONAL",
        "maxSlots": 5,
        "writeIncrementalResults": False,
    }
    judged = BODY.judged("jobs.query", request)
    assert request == {name: value for name, value in judged.items() if name != "labels"}
    load = {
        "destinationTable": OWN,
        "schema": {"fields": [{"name": "a", "type": "RECORD", "fields": [{"name": "b", "policyTags": {"names": []}}]}]},
        "timePartitioning": {"type": "DAY"},
        "parquetOptions": {"enableListInference": True},
        "decimalTargetTypes": ["NUMERIC"],
        "destinationTableProperties": {"labels": {"any_name": "x"}},
    }
    assert load == insert("load", load)["configuration"]["load"]


@pytest.mark.parametrize("job_id", ["a-bqgate-0123456789abcdef0123", "-bqgate-" + "0" * 20])
def test_no_job_is_called_as_another_customers_would_be(job_id: str) -> None:
    """Else the id that stands in for a taken one could be taken as well."""
    with pytest.raises(MalformedRequest, match="Invalid job ID"):
        BODY.judged("jobs.insert", {"jobReference": {"jobId": job_id}, "configuration": {"load": {}}})


def test_a_field_that_may_be_empty_goes_nowhere() -> None:
    """Nothing is said by it."""
    assert {} == listed({"a": {}, "b": None}, {"a": Field.EMPTY, "b": Field.EMPTY})
