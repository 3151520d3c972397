"""Keep with each hold the service account in whose name its job is made, because who made a job may ask after it.

Run by Alembic. Holds of before name none, and are asked after as their customer's account of now. Adding a column that
may be empty touches no row, so gates of the version before still write.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("holds", sa.Column("account", sa.Text(), nullable=True))
