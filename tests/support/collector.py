"""Keep the garbage collector from taking a third of a suite's time, and from what is nobody's garbage.

Whole gates are made by the thousand: what each leaves are circles of references among a hundred thousand objects that
stay, modules and what was collected, which the collector would look through again and again. Loaded as a plugin by
conftest.
"""

import gc
from collections.abc import Generator

import pytest
from aiohttp import web_app

# Young objects are looked through after so many, middle-aged and old ones after so many looks at younger ones.
_THRESHOLDS = (50_000, 20, 100)


def pytest_collection_finish() -> None:
    """From here on what there is stays: modules, and the tests themselves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def pytest_unconfigure() -> None:
    """At the end all is collected: libraries complain of what is not."""
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Let aiohttp forget the applications of this test, which it remembers with all that they lead to."""
    try:
        return (yield)
    finally:
        web_app._cached_build_middleware.cache_clear()
