"""Run the steps on the connection that ledger.migrate has locked.

Alembic executes this file; there is no alembic.ini and no connection of its own. The caller's transaction is the only
one, so that a step that fails takes back those before it.
"""

from alembic import context

from bqgate.ledger.migrate import VERSION_TABLE
from bqgate.ledger.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
