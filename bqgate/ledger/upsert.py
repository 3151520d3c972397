"""Give the INSERT of a dialect that knows ON CONFLICT; SQLAlchemy's own, for all databases, does not.

Used by whoever writes rows that may be there. Only the dialect that is used is imported.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


def insert_in(dialect: str) -> "Callable[[sa.Table], postgresql.Insert | sqlite.Insert]":
    """The function that makes an INSERT into a table."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_in_postgresql  # noqa: PLC0415 - only where it is used

        return insert_in_postgresql
    from sqlalchemy.dialects.sqlite import insert as insert_in_sqlite  # noqa: PLC0415 - the same

    return insert_in_sqlite
