"""Say which texts BigQuery takes for ids of its resources, and whose project a full name belongs to. Pure.

Asked wherever an id decides who owns something. An id with a separator in it would be a name of another level: for
BigQuery's older front ends `victim-prod:ds` was a dataset, whatever project stood beside it. The forms are those of
https://cloud.google.com/bigquery/docs/reference/rest/v2 (DatasetReference, TableReference, ModelReference,
RoutineReference, JobReference); what else is wrong with an id, BigQuery says itself.
"""

import re
from unicodedata import category

_ID = re.compile(r"[A-Za-z0-9_]{1,1024}")
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")
# Regions of all clouds are shorter ("northamerica-northeast1", "aws-eu-west-1").
_LOCATION = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")
# Older datasets may have dashes: they separate nothing.
_UNSEPARATED = re.compile(r"[A-Za-z0-9_-]{1,1024}")
# A wildcard's star; then a partition, a snapshot's time, or both.
_TABLE_ENDING = re.compile(r"\*?(?:[$@][A-Za-z0-9_-]*){0,2}")
_TABLE_BYTES_MAX = 1024
_TABLE_CATEGORIES = frozenset({"Pc", "Pd", "Zs"})
_ROUTINE_CHARS_MAX = 256
_FULL_NAME = re.compile(
    r"projects/(?P<project>(?:[A-Za-z0-9.-]{1,253}:)?[A-Za-z0-9-]{1,63})/locations/[A-Za-z0-9-]{1,63}/(?P<rest>.+)"
)
_KEY = re.compile(r"keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}")
_RESERVATION = re.compile(r"reservations/[A-Za-z0-9-]{1,64}")


def is_dataset_id(text: str) -> bool:
    """Whether a dataset can have this id. INFORMATION_SCHEMA stands where one would, and is none."""
    return _ID.fullmatch(text) is not None and text.upper() != "INFORMATION_SCHEMA"


def is_unseparated(text: str) -> bool:
    """Whether a dataset's id is one name and no path, in the forms of all times."""
    return _UNSEPARATED.fullmatch(text) is not None


def is_table_id(text: str) -> bool:
    """Whether a table can have this id, with a partition or a snapshot's time behind it."""
    if len(text) > _TABLE_BYTES_MAX or len(text.encode("utf-8", "surrogatepass")) > _TABLE_BYTES_MAX:
        return False
    end = next((index for index, each in enumerate(text) if not _is_in_table_id(each)), len(text))
    return end > 0 and _TABLE_ENDING.fullmatch(text, end) is not None


def is_model_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def is_routine_id(text: str) -> bool:
    return len(text) <= _ROUTINE_CHARS_MAX and _ID.fullmatch(text) is not None


def is_job_id(text: str) -> bool:
    return _JOB_ID.fullmatch(text) is not None


def is_location(text: str) -> bool:
    return _LOCATION.fullmatch(text) is not None


def project_of_key(name: str) -> str | None:
    """The project of a key of Cloud KMS, by its full name; None: it is no such name."""
    return _project_in(name, _KEY)


def project_of_reservation(name: str) -> str | None:
    """The project of a reservation, by its full name; None: it is no such name."""
    return _project_in(name, _RESERVATION)


def _project_in(name: str, rest: re.Pattern[str]) -> str | None:
    match = _FULL_NAME.fullmatch(name)
    return match["project"] if match is not None and rest.fullmatch(match["rest"]) is not None else None


def _is_in_table_id(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in "_- "
    kind = category(character)
    return kind[0] in "LMN" or kind in _TABLE_CATEGORIES
