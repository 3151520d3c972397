"""Take row access policies' DDL, and keep what it says: CREATE [OR REPLACE] and DROP ROW ACCESS POLICY.

sqlglot does not read these statements (parsing.ROW_POLICY_STATEMENT), so they are read here by their form. What they
would hide is not hidden: the sandbox keeps each policy with its table (TableInfo.row_policies), for tests to look at.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language
"""

from __future__ import annotations

import re
from dataclasses import replace

from sqlglot import exp

from bqgate.sandbox.warehouse.errors import Duplicate, NotFound, NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.plan import Plan
from bqgate.sandbox.warehouse.prepared import Outcome, Prepared
from bqgate.sandbox.warehouse.scanning import Scan
from bqgate.sandbox.warehouse.session import Session
from bqgate.sandbox.warehouse.tables import TableRef

_CREATE = re.compile(
    r"\s*CREATE\s+(?P<replace>OR\s+REPLACE\s+)?ROW\s+ACCESS\s+POLICY\s+(?P<name>\w+)\s+ON\s+(?P<table>`[^`]+`|[\w.-]+)\s+"
    r"GRANT\s+TO\s*\((?P<grantees>.*)\)\s*FILTER\s+USING\s*\((?P<filter>.*)\)\s*",
    re.IGNORECASE | re.DOTALL,
)
_DROP = re.compile(
    r"\s*DROP\s+ROW\s+ACCESS\s+POLICY\s+(?P<lenient>IF\s+EXISTS\s+)?(?P<name>\w+)\s+ON\s+(?P<table>`[^`]+`|[\w.-]+)\s*",
    re.IGNORECASE,
)
_MEMBER = re.compile(r'\s*"(?:(?:user|group|serviceAccount|domain):[^"\s]+|allAuthenticatedUsers|allUsers)"\s*')


def prepare_row_policy(session: Session, tree: exp.Command) -> Prepared:
    text = tree.this if isinstance(tree.this, str) else tree.this.name
    if (found := _CREATE.fullmatch(text)) is not None:
        members = found["grantees"].split(",")
        if not all(map(_MEMBER.fullmatch, members)):
            raise QueryInvalid(f"Invalid grantee in the grantee list: {found['grantees'].strip()}")
        said = f"GRANT TO ({', '.join(each.strip() for each in members)}) FILTER USING ({found['filter'].strip()})"
        return _create(session, _ref(session, found["table"]), found["name"], said, replaces=bool(found["replace"]))
    if (found := _DROP.fullmatch(text)) is not None:
        return _drop(session, _ref(session, found["table"]), found["name"], lenient=bool(found["lenient"]))
    raise NotSupported("row access policies of this form.")


def _create(session: Session, ref: TableRef, name: str, said: str, *, replaces: bool) -> Prepared:
    stored = session.catalog.writable(ref)
    if name in session.catalog.find(ref).info.row_policies and not replaces:
        raise Duplicate(f"Already Exists: Row access policy {name}")

    def run() -> Outcome:
        info = session.catalog.find(ref).info
        session.catalog.put(stored, replace(info, row_policies={**info.row_policies, name: said}))
        return Outcome()

    return Prepared(Plan("CREATE_ROW_ACCESS_POLICY", target=ref, ddl_operation="CREATE"), Scan(), run)


def _drop(session: Session, ref: TableRef, name: str, *, lenient: bool) -> Prepared:
    stored = session.catalog.writable(ref)
    if name not in session.catalog.find(ref).info.row_policies and not lenient:
        raise NotFound(f"Not found: Row access policy {name}")

    def run() -> Outcome:
        info = session.catalog.find(ref).info
        kept = {each: said for each, said in info.row_policies.items() if each != name}
        session.catalog.put(stored, replace(info, row_policies=kept))
        return Outcome()

    return Prepared(Plan("DROP_ROW_ACCESS_POLICY", target=ref, ddl_operation="DROP"), Scan(), run)


def _ref(session: Session, name: str) -> TableRef:
    parts = name.strip("`").split(".")
    dataset = session.ctx.default_dataset
    match parts:
        case [project, dataset_id, table]:
            return TableRef(project, dataset_id, table)
        case [dataset_id, table]:
            return TableRef(session.ctx.project, dataset_id, table)
        case [table] if dataset is not None:
            return TableRef(*dataset, table)
    raise QueryInvalid(f'Table "{name}" must be qualified with a dataset (e.g. dataset.table).')
