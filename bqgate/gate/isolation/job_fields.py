"""List the fields that a submitted job may have where the gate stands alone between its customers.

Read by job_bodies.py, and by resources.py for schemas. The order is the reference's:
https://cloud.google.com/bigquery/docs/reference/rest/v2/Job and .../jobs/query. Left out, and so refused: what a secure
context says (row access policies believe it), and columns that are generated, whose expression may name a connection.
"""

from bqgate.gate.isolation.field_lists import Field, MapOf, values

ENCRYPTION = values("kmsKeyName")
TABLE = values("projectId", "datasetId", "tableId")
DATASET = values("projectId", "datasetId")
CLUSTERING = values("fields")
TIME_PARTITIONING = values("type", "expirationMs", "field", "requirePartitionFilter")
RANGE_PARTITIONING = {**values("field"), "range": values("start", "end", "interval")}

_COLUMN = {
    **values("name", "type", "mode", "description", "maxLength", "precision", "scale", "timestampPrecision"),
    **values("roundingMode", "collation", "defaultValueExpression", "foreignTypeDefinition"),
    "categories": values("names"),
    "policyTags": values("names"),
    "dataPolicies": values("name"),
    "dataPolicyList": {"dataPolicies": values("name")},
    "rangeElementType": values("type"),
}
_COLUMN["fields"] = _COLUMN
SCHEMA = {"fields": _COLUMN, "foreignTypeInfo": values("typeSystem")}

_PARAMETER_TYPE = values("type", "timestampPrecision")
_PARAMETER_TYPE |= {
    "arrayType": _PARAMETER_TYPE,
    "rangeElementType": _PARAMETER_TYPE,
    "structTypes": {**values("name", "description"), "type": _PARAMETER_TYPE},
}
_PARAMETER_VALUE = values("value")
_PARAMETER_VALUE |= {
    "arrayValues": _PARAMETER_VALUE,
    "structValues": MapOf(_PARAMETER_VALUE),
    "rangeValue": {"start": _PARAMETER_VALUE, "end": _PARAMETER_VALUE},
}
_PARAMETER = {**values("name"), "parameterType": _PARAMETER_TYPE, "parameterValue": _PARAMETER_VALUE}
_PROPERTY = values("key", "value")

# What both ways to submit a query have.
_QUERY = {
    **values("query", "useLegacySql", "useQueryCache", "maximumBytesBilled", "parameterMode", "preserveNulls"),
    **values("createSession", "continuous", "writeIncrementalResults"),
    "defaultDataset": DATASET,
    "queryParameters": _PARAMETER,
    "connectionProperties": _PROPERTY,
    "destinationEncryptionConfiguration": ENCRYPTION,
    "secureContext": Field.EMPTY,
}
QUERY_REQUEST = {
    **_QUERY,
    **values("kind", "maxResults", "timeoutMs", "dryRun", "location", "requestId", "jobCreationMode", "jobTimeoutMs"),
    **values("maxSlots", "reservation", "queryResultsFormat"),
    "formatOptions": values("useInt64Timestamp", "timestampOutputFormat"),
    "arrowSerializationOptions": values("bufferCompression", "picosTimestampPrecision"),
    "labels": Field.OWN,
}
_INSERT_QUERY = {
    **_QUERY,
    **values("createDisposition", "writeDisposition", "priority", "allowLargeResults", "flattenResults"),
    **values("maximumBillingTier", "schemaUpdateOptions"),
    "destinationTable": TABLE,
    "timePartitioning": TIME_PARTITIONING,
    "rangePartitioning": RANGE_PARTITIONING,
    "clustering": CLUSTERING,
    "scriptOptions": values("statementTimeoutMs", "statementByteBudget", "keyResultStatement"),
    "userDefinedFunctionResources": values("resourceUri", "inlineCode"),
    "tableDefinitions": Field.EMPTY,
    "systemVariables": Field.IGNORED,
    # Google's client for Node leaves these of its own options in the job; BigQuery reads over them.
    **dict.fromkeys(("types", "wrapIntegers", "parseJSON", "skipParsing", "formatOptions"), Field.IGNORED),
    **dict.fromkeys(("maxResults", "timeoutMs", "startIndex", "pageToken"), Field.IGNORED),
    **dict.fromkeys(("autoPaginate", "maxApiCalls", "requestId", "jobCreationMode"), Field.IGNORED),
}
_LOAD = {
    **values("sourceUris", "fileSetSpecType", "schemaInline", "schemaInlineFormat", "createDisposition"),
    **values("writeDisposition", "nullMarker", "nullMarkers", "fieldDelimiter", "skipLeadingRows", "encoding"),
    **values("quote", "maxBadRecords", "allowQuotedNewlines", "sourceFormat", "allowJaggedRows"),
    **values("ignoreUnknownValues", "projectionFields", "autodetect", "schemaUpdateOptions", "useAvroLogicalTypes"),
    **values("referenceFileSchemaUri", "decimalTargetTypes", "jsonExtension", "preserveAsciiControlCharacters"),
    **values("createSession", "columnNameCharacterMap", "copyFilesOnly", "timeZone", "dateFormat", "datetimeFormat"),
    **values("timeFormat", "timestampFormat", "timestampTargetPrecision", "sourceColumnMatch"),
    "destinationTable": TABLE,
    "destinationTableProperties": {
        **values("friendlyName", "description", "expirationTime"),
        "labels": Field.OWN,
    },
    "schema": SCHEMA,
    "timePartitioning": TIME_PARTITIONING,
    "rangePartitioning": RANGE_PARTITIONING,
    "clustering": CLUSTERING,
    "destinationEncryptionConfiguration": ENCRYPTION,
    "hivePartitioningOptions": values("mode", "sourceUriPrefix", "requirePartitionFilter", "fields"),
    "parquetOptions": values("enumAsString", "enableListInference", "mapTargetType"),
    "connectionProperties": _PROPERTY,
}
_COPY = {
    **values("createDisposition", "writeDisposition", "operationType", "destinationExpirationTime"),
    "sourceTable": TABLE,
    "sourceTables": TABLE,
    "destinationTable": TABLE,
    "destinationEncryptionConfiguration": ENCRYPTION,
}
_EXTRACT = {
    **values("destinationUri", "destinationUris", "printHeader", "fieldDelimiter", "destinationFormat"),
    **values("compression", "useAvroLogicalTypes", "nativeGeographyExportEnabled"),
    "sourceTable": TABLE,
    "sourceModel": values("projectId", "datasetId", "modelId"),
    "modelExtractOptions": values("trialId"),
    "secureContext": Field.EMPTY,
}
JOB = {
    "jobReference": values("projectId", "jobId", "location"),
    "configuration": {
        **values("dryRun", "jobTimeoutMs", "maxSlots", "reservation"),
        "labels": Field.OWN,
        "jobType": Field.IGNORED,
        "query": _INSERT_QUERY,
        "load": _LOAD,
        "copy": _COPY,
        "extract": _EXTRACT,
    },
    # What a job that was fetched has besides, which clients hand back as it came.
    **dict.fromkeys(("kind", "id", "etag", "selfLink", "status", "statistics"), Field.IGNORED),
    **dict.fromkeys(("userEmail", "principalSubject", "jobCreationReason"), Field.IGNORED),
}
