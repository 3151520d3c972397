"""Name the units that cross the gate, so that no two numbers of different kinds are mixed.

Used everywhere. BigQuery prices per TiB (2**40 bytes) and rounds up to MiB with a 10 MiB minimum
(https://cloud.google.com/bigquery/pricing; the unit is binary: its own messages say "10485760 or higher").
"""

MIB = 2**20
GIB = 2**30
TIB = 2**40

# BigQuery's minimum charge for one query and for each table that it references.
MINIMUM_BILLED_BYTES = 10 * MIB

MS_PER_S = 1_000
MS_PER_HOUR = 3_600_000

# Ratios (headroom, thresholds) are whole parts per million: no float near money.
PPM = 1_000_000

# BigQuery's int64 fields.
INT64_MAX = 2**63 - 1


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide and round up; for costs, where rounding down would lose money. Both arguments >= 0."""
    return -(-numerator // denominator)


def ceil_mib(size_bytes: int) -> int:
    """Round a number of bytes up to whole MiB, in bytes."""
    return -(-size_bytes // MIB) * MIB
