"""List the fields that datasets, tables, routines and models may be given where the gate keeps customers apart itself.

Read by resources.py. References: https://cloud.google.com/bigquery/docs/reference/rest/v2/ (datasets, tables, routines,
models, and TableDataInsertAllRequest). Left out, and so refused, is what shares data (access, linked datasets), and
what reaches for files, connections and tables elsewhere (external data, BigLake, clones, snapshots, replicas).
"""

from collections.abc import Mapping

from bqgate.gate.isolation.field_lists import Field, Fields, values
from bqgate.gate.isolation.job_fields import (
    CLUSTERING,
    DATASET,
    ENCRYPTION,
    RANGE_PARTITIONING,
    SCHEMA,
    TABLE,
    TIME_PARTITIONING,
)

# What BigQuery puts into every resource, and ignores in requests.
_SHOWN = values(
    *("kind", "id", "etag", "selfLink", "type", "creationTime", "lastModifiedTime", "location", "satisfiesPzs")
)
_SHARED = {
    **_SHOWN,
    **values("friendlyName", "description", "defaultCollation", "defaultRoundingMode"),
    "labels": Field.OWN,
}
_DATA_TYPE = values("typeKind")
_NAMED_TYPE = {**values("name"), "type": _DATA_TYPE}
_DATA_TYPE |= {
    "arrayElementType": _DATA_TYPE,
    "rangeElementType": _DATA_TYPE,
    "structType": {"fields": _NAMED_TYPE},
}
_TABLE_TYPE = {"columns": _NAMED_TYPE}
_FOREIGN_KEY = {
    **values("name"),
    "referencedTable": TABLE,
    "columnReferences": values("referencingColumn", "referencedColumn"),
}

DATASET_FIELDS = {
    **_SHARED,
    **values("defaultTableExpirationMs", "defaultPartitionExpirationMs", "isCaseInsensitive", "maxTimeTravelHours"),
    **values("storageBillingModel", "satisfiesPzi"),
    "datasetReference": DATASET,
    "defaultEncryptionConfiguration": ENCRYPTION,
}
TABLE_FIELDS = {
    **_SHARED,
    **values("expirationTime", "requirePartitionFilter", "maxStaleness"),
    **values("numBytes", "numRows", "numLongTermBytes", "numPhysicalBytes", "numTotalLogicalBytes"),
    **values("numActiveLogicalBytes", "numLongTermLogicalBytes", "numTotalPhysicalBytes", "numActivePhysicalBytes"),
    **values("numLongTermPhysicalBytes", "numTimeTravelPhysicalBytes", "numCurrentPhysicalBytes", "numPartitions"),
    "tableReference": TABLE,
    "schema": SCHEMA,
    "timePartitioning": TIME_PARTITIONING,
    "rangePartitioning": RANGE_PARTITIONING,
    "clustering": CLUSTERING,
    "encryptionConfiguration": ENCRYPTION,
    "tableConstraints": {"primaryKey": values("columns"), "foreignKeys": _FOREIGN_KEY},
    "view": values("query", "useLegacySql", "useExplicitColumnNames"),
    "materializedView": values(
        *("query", "enableRefresh", "refreshIntervalMs", "lastRefreshTime", "maxStaleness"),
        "allowNonIncrementalDefinition",
    ),
    "streamingBuffer": Field.IGNORED,
}
ROUTINE_FIELDS = {
    **_SHARED,
    **values("routineType", "language", "definitionBody", "strictMode", "determinismLevel"),
    "routineReference": values("projectId", "datasetId", "routineId"),
    "arguments": {
        **values("name", "argumentKind", "mode", "isAggregate"),
        "dataType": _DATA_TYPE,
        "tableType": _TABLE_TYPE,
    },
    "returnType": _DATA_TYPE,
    "returnTableType": _TABLE_TYPE,
    "buildStatus": Field.IGNORED,
}
MODEL_FIELDS = {
    **_SHARED,
    **values("expirationTime"),
    "modelReference": values("projectId", "datasetId", "modelId"),
    "encryptionConfiguration": ENCRYPTION,
}

_TEST_PERMISSIONS = values("permissions")
_GET_POLICY = {"options": values("requestedPolicyVersion")}
# What methods are told that make and change nothing by their bodies, or rows alone.
ARGUMENTS: Mapping[str, Fields] = {
    "datasets.undelete": values("deletionTime"),
    "routines.getIamPolicy": _GET_POLICY,
    "routines.testIamPermissions": _TEST_PERMISSIONS,
    "rowAccessPolicies.getIamPolicy": _GET_POLICY,
    "rowAccessPolicies.testIamPermissions": _TEST_PERMISSIONS,
    "tabledata.insertAll": {
        **values("kind", "skipInvalidRows", "ignoreUnknownValues", "templateSuffix", "traceId"),
        "rows": Field.OWN,
        # Google's client for Node leaves these of its own options in the body; BigQuery reads over them.
        **dict.fromkeys(("raw", "schema", "createInsertId", "partialRetries"), Field.IGNORED),
    },
    "tables.getIamPolicy": _GET_POLICY,
    "tables.testIamPermissions": _TEST_PERMISSIONS,
}
