"""Let one job be found by its id: `bqgate jobs show` and GET /v1/jobs/{id}.

Run by Alembic. The index is built while PostgreSQL's writers wait: some seconds for some million entries.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_entries_job", "entries", ["job_id"])
