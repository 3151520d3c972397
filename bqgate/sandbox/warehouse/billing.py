"""Round bytes to what is billed, and turn bytes into work.

The planner and the runner call these. Pure arithmetic on whole numbers.

Rules: bytes are rounded up to a whole MiB, with a minimum of 10 MiB for each referenced table and for each query that
references one (https://cloud.google.com/bigquery/docs/best-practices-costs). Slot time is the sandbox's own model:
BigQuery publishes none. It is a fixed function of the bytes processed, so that a test can know it beforehand.
"""

from __future__ import annotations

MIB = 2**20
GIB = 2**30
MINIMUM_BYTES = 10 * MIB

SLOT_MS_BASE = 20
SLOT_MS_PER_GIB = 2_000
SLOTS = 1_000
WALL_MS_BASE = 40


def billed(bytes_by_table: list[int]) -> int:
    """Return the bytes billed for a query that processes so many bytes of each table it references.

    Args:
        bytes_by_table: One number per referenced table.
    """
    if not bytes_by_table:
        return 0
    whole_mib = -(-sum(bytes_by_table) // MIB) * MIB
    return max(whole_mib, MINIMUM_BYTES * len(bytes_by_table))


def slot_ms(bytes_processed: int) -> int:
    """Return the slot time of a statement: 2,000 slot-ms for a GiB, and 20 for being there."""
    return SLOT_MS_BASE + -(-bytes_processed * SLOT_MS_PER_GIB // GIB)


def wall_ms(work_slot_ms: int, ratio: float) -> int:
    """Return how long a job of that work appears to run on 1,000 slots.

    Args:
        work_slot_ms: Slot time of the job.
        ratio: Scale of the sandbox's time; 0 makes every job instant.
    """
    return int((WALL_MS_BASE + work_slot_ms // SLOTS) * ratio)
