"""Read the enumerated fields of a query in whatever spelling Google's parser takes, and put down the one name.

Used when a query is read, so that what is judged is what is sent. Protocol buffers' JSON has the name of a value, or
its number (https://protobuf.dev/programming-guides/json/); Google's front ends also take other case, dashes for
underscores, lowerCamelCase, and a number in quotes. BigQuery's older fields are plain strings with a few meanings,
which have no numbers. Errors: MalformedRequest.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bqgate.domain.errors import MalformedRequest
from bqgate.wire.integers import proto_path, shown_value, whole_number
from bqgate.wire.json_text import JsonNumber

_NAME_CHARS_MAX = 256
_PACKAGE = "type.googleapis.com/google.cloud.bigquery.v2"


@dataclass(frozen=True, slots=True)
class Enumeration:
    """One field's names, in the order of their numbers.

    `type_name` is its type's where it is a true enum, which has numbers. `is_judged`: the gate acts on its value, so
    that a name which nobody knows is refused; else BigQuery may know it.
    """

    field: str
    names: tuple[str, ...]
    type_name: str = ""
    is_judged: bool = True


JOB_CREATION_MODE = Enumeration(
    "jobCreationMode",
    ("JOB_CREATION_MODE_UNSPECIFIED", "JOB_CREATION_REQUIRED", "JOB_CREATION_OPTIONAL"),
    type_name="QueryRequest.JobCreationMode",
    is_judged=False,  # overwritten in whatever is forwarded under a hold
)
QUERY_RESULTS_FORMAT = Enumeration(
    "queryResultsFormat",
    ("QUERY_RESULTS_FORMAT_UNSPECIFIED", "STRUCT_ENCODING", "ARROW"),
    type_name="QueryRequest.QueryResultsFormat",
    is_judged=False,
)
PRIORITY = Enumeration("priority", ("INTERACTIVE", "BATCH"))
CREATE_DISPOSITION = Enumeration("createDisposition", ("CREATE_IF_NEEDED", "CREATE_NEVER"))
WRITE_DISPOSITION = Enumeration(
    "writeDisposition", ("WRITE_TRUNCATE", "WRITE_TRUNCATE_DATA", "WRITE_APPEND", "WRITE_EMPTY"), is_judged=False
)
# Files that name other files are in neither list: BigQuery would read those.
SOURCE_FORMAT = Enumeration(
    "sourceFormat", ("CSV", "NEWLINE_DELIMITED_JSON", "JSON", "AVRO", "PARQUET", "ORC"), is_judged=False
)
FILE_SET_SPEC_TYPE = Enumeration(
    "fileSetSpecType",
    ("FILE_SET_SPEC_TYPE_FILE_SYSTEM_MATCH",),
    type_name="JobConfigurationLoad.FileSetSpecType",
    is_judged=False,
)
PARAMETER_MODE = Enumeration("parameterMode", ("POSITIONAL", "NAMED"), is_judged=False)
OF_INSERT = (PRIORITY, CREATE_DISPOSITION, WRITE_DISPOSITION, PARAMETER_MODE)
OF_QUERY = (JOB_CREATION_MODE, QUERY_RESULTS_FORMAT, PARAMETER_MODE)


def settle_enumerations(holder: dict[str, Any], kinds: Iterable[Enumeration], *, path: str = "") -> None:
    """Put down the one name of each value; empty is absent, as everywhere in proto JSON.

    Raises:
        MalformedRequest: a value is of the wrong type, or of a judged field and unknown.
    """
    for kind in kinds:
        value = holder.get(kind.field)
        if value is None:
            continue
        if value == "":
            del holder[kind.field]
            continue
        name = _name_of(value, kind)
        if name is not None:
            holder[kind.field] = name
        elif kind.is_judged or not isinstance(value, str):
            raise _unknown(value, kind, f"{path}{kind.field}")


def _name_of(value: Any, kind: Enumeration) -> str | None:
    if isinstance(value, bool):
        return None
    number = _number_of(value)
    if number is not None:
        return kind.names[number] if kind.type_name and 0 <= number < len(kind.names) else None
    if not isinstance(value, str) or len(value) > _NAME_CHARS_MAX:
        return None
    wanted = _folded(value)
    return next((name for name in kind.names if _folded(name) == wanted), None)


def _number_of(value: Any) -> int | None:
    if isinstance(value, JsonNumber):
        return whole_number(value.text)
    return whole_number(value) if isinstance(value, str) else value if isinstance(value, int) else None


def _folded(name: str) -> str:
    return name.strip().upper().replace("-", "").replace("_", "")


def _unknown(value: Any, kind: Enumeration, field: str) -> MalformedRequest:
    if kind.type_name:
        told = f"Invalid value at '{proto_path(field)}' ({_PACKAGE}.{kind.type_name}), {shown_value(value)}"
    else:
        told = f"Invalid value for field {field}: {shown_value(value)} is not a valid value."
    return MalformedRequest(told, field=field)
