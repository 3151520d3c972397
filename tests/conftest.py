"""Name the fixtures that any test may ask for, and what looks at a test that hangs."""

from hypothesis import settings

# A busy machine is no bug: what hangs is ended by pytest's own time limit.
settings.register_profile("patient", parent=settings(), deadline=None)
settings.load_profile("patient")

pytest_plugins = [
    "tests.support.collector",
    "tests.support.hang_report",
    "tests.support.memory_disk",
    "tests.support.ledgers",
    "tests.support.budget_stores",
    "tests.support.postgres_server",
    "tests.support.registries",
    "tests.support.redis_server",
    "tests.support.redis_topologies",
]
