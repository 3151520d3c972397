"""Declare the registry's four tables, beside the ledger's two and in the same METADATA.

`policies` and `keys` are what admins decided; `registry_revision` has one row, whose number grows with every change of
the two, and which every writer locks first, so that changes come one after the other (SQLite locks the whole file
anyway); `audit` is append-only (triggers of the second migration refuse UPDATE and DELETE), chained by its hashes. Read
by registry, registry_rows and audit_chain; migrations/ hold the frozen history that leads here. Moments are
microseconds since 1970 UTC, as in schema.
"""

import sqlalchemy as sa

from bqgate.ledger.schema import METADATA

policies = sa.Table(
    "policies",
    METADATA,
    sa.Column("kind", sa.Text, primary_key=True),  # domain.policy.PolicyKind
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),  # the revision that the change made
    sa.Column("document", sa.JSON, nullable=False),
    sa.Column("changed_at", sa.BigInteger, nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
)

keys = sa.Table(
    "keys",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),  # domain.key.KeyKind
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),  # domain.principal.Role
    sa.Column("customer", sa.Text),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("ends_at", sa.BigInteger),
    sa.Column("is_revoked", sa.Boolean, nullable=False),
    sa.Column("public_key", sa.Text),  # PEM
    sa.Column("token_hash", sa.Text),  # SHA-256 in hexadecimal
)

registry_revision = sa.Table(
    "registry_revision",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.CheckConstraint("id = 1", name="ck_registry_revision_one_row"),
)

audit = sa.Table(
    "audit",
    METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),  # from 1, without gaps
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("customer", sa.Text),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    # JSON as text: it is hashed, so the database shall not read or rewrite it.
    sa.Column("before", sa.Text),
    sa.Column("after", sa.Text),
    sa.Column("previous_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

# Pages of what one customer or person did, of one kind of event, and of some days, newest first.
sa.Index("ix_audit_customer", audit.c.customer, audit.c.seq)
sa.Index("ix_audit_actor", audit.c.actor, audit.c.seq)
sa.Index("ix_audit_action", audit.c.action, audit.c.seq)
sa.Index("ix_audit_at", audit.c.at)
