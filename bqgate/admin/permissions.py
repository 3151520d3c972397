"""Say who may do what on the control plane: THE table, one row for each operation.

Read by guard before every view. An operation without a row is denied to everybody, so is a role that its row does not
name. Reach.OWN binds a role to its own customer: asked for another's it is refused, asked for none it gets its own.
Reach.SELF binds it, beside that, to what it spends itself: asked for another principal it is refused, and of its
customer's budgets it sees none that is another principal's.
Role.OPEN (identity.mode: open) is in no row that changes anything.

What a row cannot say is said by the view: an admin may not touch keys of admins (keys.py).
"""

from collections.abc import Mapping
from enum import StrEnum

from bqgate.domain.principal import Role


class Reach(StrEnum):
    """How far a role sees."""

    SELF = "self"
    OWN = "own"
    ALL = "all"


Row = Mapping[Role, Reach]

_ADMINS: Row = {Role.ADMIN: Reach.ALL, Role.SUPER_ADMIN: Reach.ALL}
_READERS: Row = {Role.OPEN: Reach.ALL, **_ADMINS}
_ANALYSTS: Row = {Role.ANALYST: Reach.OWN, **_READERS}
_USERS: Row = {Role.USER: Reach.SELF, **_ANALYSTS}

# Answered without asking who calls.
PUBLIC = frozenset(
    {
        *("health.alive", "health.ready"),
        *("tokens.issue", "tokens.issue_alias", "tokens.issue_alias_v1"),
        *("openapi.document", "openapi.page"),  # the same for every gate of a version: it names nobody and no number
    }
)

# Public, too, where identity.open_metrics says so: Prometheus often has no token.
METRICS = "health.metrics"

PERMISSIONS: Mapping[str, Row] = {
    "budget.show": _USERS,
    "budget.check": _USERS,
    "deployment.show": _READERS,
    "budgets.standing": _USERS,
    "jobs.list": _USERS,
    "jobs.show": _USERS,
    "spend.show": _USERS,
    "holds.list": _ANALYSTS,
    "holds.void": _ADMINS,
    "costs.show": _ANALYSTS,
    "graduation.show": _ANALYSTS,
    METRICS: _READERS,
    "tiers.list": _READERS,
    "tiers.create": _ADMINS,
    "tiers.show": _READERS,
    "tiers.replace": _ADMINS,
    "tiers.patch": _ADMINS,
    "tiers.delete": _ADMINS,
    "customers.list": _READERS,
    "customers.create": _ADMINS,
    "customers.show": _READERS,
    "customers.replace": _ADMINS,
    "customers.patch": _ADMINS,
    "customers.delete": _ADMINS,
    "budgets.list": _READERS,
    "budgets.create": _ADMINS,
    "budgets.show": _READERS,
    "budgets.replace": _ADMINS,
    "budgets.patch": _ADMINS,
    "budgets.delete": _ADMINS,
    "budgets.raise": _ADMINS,
    "raises.list": _READERS,
    "raises.end": _ADMINS,
    "pricing.show": _READERS,
    "pricing.replace": _ADMINS,
    "pricing.patch": _ADMINS,
    "pricing.delete": _ADMINS,
    "keys.list": _READERS,
    "keys.create": _ADMINS,
    "keys.show": _READERS,
    "keys.rotate": _ADMINS,
    "keys.revoke": _ADMINS,
    "breakers.list": _READERS,
    "breakers.reset": _ADMINS,
    "audit.list": _READERS,
    "audit.export": _READERS,
    "audit.verify": _READERS,
}


def reach_of(operation_id: str, role: Role) -> Reach | None:
    """How far a role may go in an operation; None: not at all."""
    return PERMISSIONS.get(operation_id, {}).get(role)
