"""Hold every BigQuery query to a budget before it runs, and book what it really cost.

Start reading at ``bqgate/gate/__init__.py`` (the map of the request path) and ``bqgate/gate/handler.py``
(the path itself).
"""

from importlib.metadata import version

__version__ = version("bqgate")
