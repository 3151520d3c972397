"""Name the fixtures that any test may ask for."""

pytest_plugins = [
    "tests.support.redis_server",
]
