"""Read query parameters and path parts strictly: unknown, repeated and malformed ones are refused by name.

Called by the views. What leaves: plain values, or a Problem 400 that says what was expected. Moments are RFC 3339
(https://www.rfc-editor.org/rfc/rfc3339#section-5.6) and leave as aware UTC datetimes.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime

from aiohttp import web

from bqgate.admin.guard import OWN_CUSTOMER, OWN_PRINCIPAL, URL_TOKENS
from bqgate.admin.operation import Parameter, Place
from bqgate.admin.problem import Problem
from bqgate.domain.tier import GATE_ITSELF, UNKNOWN_PROJECT

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

CUSTOMER_CHARS_MAX = 128
NAME_CHARS_MAX = 1_024
# What names a customer that is not in the settings: a project id, with the domain of old ones, or a workload.
_CUSTOMER = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:@-]{{0,{CUSTOMER_CHARS_MAX - 1}}}", re.ASCII)

# Descriptions of the parameters that several operations have.
CUSTOMER_IN_QUERY = Parameter(
    "customer",
    "Of this customer only. Left out: of all, or of your own customer where your role is bound to it.",
    schema={"type": "string", "minLength": 1, "maxLength": CUSTOMER_CHARS_MAX},
)
_NAME_SCHEMA = {"type": "string", "minLength": 1}  # no maxLength: several at their longest are no URL
PRINCIPAL_IN_QUERY = Parameter(
    "principal",
    "Of this principal only. Left out: of all, or of yourself where your role is bound to that.",
    schema=_NAME_SCHEMA,
)
PROJECT_IN_QUERY = Parameter("project_id", "Of queries in this project only.", schema=_NAME_SCHEMA)
WORKLOAD_IN_QUERY = Parameter("workload", "Of queries of this workload only.", schema=_NAME_SCHEMA)
CUSTOMER_IN_PATH = Parameter("customer", "The customer's id.", Place.PATH, {"type": "string", "minLength": 1})


class Parameters:
    """The query parameters of one request; those not named in `known` are refused."""

    def __init__(self, request: web.Request, known: tuple[str, ...] = ()) -> None:
        """Take them, each once.

        Raises:
            Problem: one is unknown, or comes twice.
        """
        self._values: dict[str, str] = {}
        self._own_customer = request.get(OWN_CUSTOMER)
        self._own_principal = request.get(OWN_PRINCIPAL)
        for name, value in request.query.items():
            if name in URL_TOKENS:
                continue
            if name not in known:
                expected = f"known are {', '.join(known)}" if known else "this path takes none"
                raise Problem(400, f"There is no parameter {name[:100]!r}; {expected}.", field=name[:100])
            if name in self._values:
                raise Problem(400, f"{name} is given twice.", field=name)
            self._values[name] = value

    def text(self, name: str) -> str | None:
        """A parameter as it came; None where it is absent. An empty one is refused."""
        value = self._values.get(name)
        if value == "":
            raise Problem(400, f"{name} is empty; leave it out.", field=name)
        return value

    def customer(self) -> str | None:
        """A customer's id, to look for in the ledger: any name that the settings could give.

        Left out it is the customer that the caller is bound to; None: the caller may see all.
        """
        value = self.printable("customer", chars_max=CUSTOMER_CHARS_MAX)
        return self._own_customer if value is None else value

    def principal(self) -> str | None:
        """A principal's name, to look for in the ledger; left out it is the caller's own where it is bound to it."""
        value = self.printable("principal", chars_max=NAME_CHARS_MAX)
        return self._own_principal if value is None else value

    def day(self, name: str) -> date | None:
        """A day of the calendar, as ISO 8601 writes it."""
        value = self.text(name)
        if value is None:
            return None
        if not _DATE.fullmatch(value):
            raise Problem(400, f"{name} must be a day like 2026-11-24.", field=name)
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise Problem(400, f"{name} is no day of the calendar.", field=name) from None

    def one_of(self, name: str, known: Sequence[str]) -> str | None:
        """One of some words."""
        value = self.text(name)
        if value is not None and value not in known:
            raise Problem(400, f"{name} must be one of {', '.join(known)}.", field=name)
        return value

    def printable(self, name: str, *, chars_max: int) -> str | None:
        """Text to look for in a database, of which some cannot be asked for what no terminal shows."""
        value = self.text(name)
        if value is not None and not (value.isprintable() and len(value) <= chars_max):
            raise Problem(400, f"{name} must be 1 to {chars_max} printable characters.", field=name)
        return value

    def integer(self, name: str, *, default: int, at_least: int, at_most: int) -> int:
        """A whole number within bounds, both included."""
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", value) or not at_least <= int(value) <= at_most:
            raise Problem(400, f"{name} must be a whole number from {at_least} to {at_most}.", field=name)
        return int(value)

    def moment(self, name: str) -> datetime | None:
        """A date-time of RFC 3339, in UTC."""
        value = self.text(name)
        if value is None:
            return None
        # A plus that was not percent-encoded arrives as a space.
        if not _DATE_TIME.fullmatch(value):
            hint = "write the + of the offset as %2B" if re.search(r" \d\d:\d\d$", value) else "for example"
            raise Problem(400, f"{name} must be an RFC 3339 date-time; {hint}: 2026-11-24T12:00:00Z.", field=name)
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise Problem(400, f"{name} is no moment of the calendar.", field=name) from None


def check_unlisted_customer(value: str) -> None:
    """Refuse what names nobody: a budget that is looked at opens an account in the store.

    Raises:
        Problem: it is neither a project id nor a workload.
    """
    if value not in {UNKNOWN_PROJECT, GATE_ITSELF} and not _CUSTOMER.fullmatch(value):
        detail = (
            f"A customer who is not in the settings has 1 to {CUSTOMER_CHARS_MAX} letters, digits and any of "
            ". _ : @ -, and begins with a letter or digit."
        )
        raise Problem(400, detail, field="customer")
