"""Give the ledger's entries away in columns: to a table at BigQuery, and to files of Parquet.

columns.py         which columns there are, and what an entry has in each
mirror.py          entries into a table at BigQuery, each exactly once
table_changes.py   what may be changed of a table that is there
row_policies.py    who may read which rows of it
mirror_faults.py   what keeps it from going on, and what to do
parquet_files.py   entries into files of Parquet; needs an extra, so it is imported by who wants it
"""

from bqgate.exports.mirror import Mirror, MirrorPlan

__all__ = ["Mirror", "MirrorPlan"]
