"""Hold every BigQuery query to a budget before it runs, and book what it really cost.

Start reading at ``bqgate/gate/__init__.py`` (the map of the request path) and ``bqgate/gate/handler.py``
(the path itself).
"""


def __getattr__(name: str) -> str:
    """The version, looked up when it is asked for: a command that starts need not wait for it."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415 - said above

    return version("bqgate")
