"""Keep the history of the ledger's tables, one file a step in versions/, run by ledger.migrate through Alembic.

A step that was released is never edited; the next one follows it. Steps spell their tables out instead of importing
ledger.schema, which says how the tables are today.
"""
