"""Write the row access policies of the mirror: each customer's people see its rows, admins see all. Pure.

Used by mirror. As soon as a table has one policy, whoever is in none sees nothing, owners too; so the one of the admins
comes first and stays (https://cloud.google.com/bigquery/docs/managing-row-level-security). Statements are GoogleSQL,
and customers' names are quoted by its rules.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from bqgate.exports.columns import CLUSTERED_BY

ADMINS_POLICY = "bqgate_admins"
_SERVICE_ACCOUNTS = ".gserviceaccount.com"


def policy_name(customer: str) -> str:
    """A policy's name has letters, digits and underscores; a customer's may have more."""
    return f"bqgate_customer_{sha256(customer.encode()).hexdigest()[:16]}"


def create_policy(table: str, name: str, grantees: Sequence[str], *, customer: str | None) -> str:
    """The statement that makes or replaces a policy.

    Args:
        table: project.dataset.table.
        name: of the policy.
        grantees: IAM members.
        customer: whose rows they see; None: all.
    """
    granted = ", ".join(_quoted(each, '"') for each in grantees)
    condition = "TRUE" if customer is None else f"{CLUSTERED_BY} = {_quoted(customer, chr(39))}"
    return f"CREATE OR REPLACE ROW ACCESS POLICY {name} ON `{table}` GRANT TO ({granted}) FILTER USING ({condition})"


def drop_policy(table: str, name: str) -> str:
    """The statement that takes a policy away."""
    return f"DROP ROW ACCESS POLICY IF EXISTS {name} ON `{table}`"


def members_of(principals: Sequence[str]) -> list[str]:
    """A customer's addresses and domains as IAM names them."""
    return [_member(each) for each in principals]


def wanted_policies(table: str, admins: Sequence[str], readers: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Each policy's statement by its name, the admins' first; customers without principals have none."""
    wanted = {ADMINS_POLICY: create_policy(table, ADMINS_POLICY, admins, customer=None)}
    for customer, principals in sorted(readers.items()):
        if principals:
            name = policy_name(customer)
            wanted[name] = create_policy(table, name, members_of(principals), customer=customer)
    return wanted


def _member(principal: str) -> str:
    if "@" not in principal:
        return f"domain:{principal}"
    return f"{'serviceAccount' if principal.endswith(_SERVICE_ACCOUNTS) else 'user'}:{principal}"


def _quoted(text: str, mark: str) -> str:
    escaped = text.replace("\\", "\\\\").replace(mark, f"\\{mark}")
    shown = "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in escaped)
    return f"{mark}{shown}{mark}"
