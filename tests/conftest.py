"""Name the fixtures that any test may ask for."""

pytest_plugins = [
    "tests.support.ledgers",
    "tests.support.budget_stores",
    "tests.support.postgres_server",
    "tests.support.registries",
    "tests.support.redis_server",
]
