"""Show what the gate knows of money: budgets, jobs, holds, costs, health, metrics. Nothing here changes anything.

    routes.py      the table of paths, and add_control_plane, which app calls
    budget.py      a customer's budgets, and what a query of some cost would get
    bookings.py    jobs, open holds and costs out of the ledger
    health.py      alive, ready, metrics
    parameters.py  strict reading of query parameters and bodies
    documents.py   domain values as JSON: money as decimal strings of dollars, moments in RFC 3339
    problem.py     errors as application/problem+json

There is no authentication: app mounts these routes where the settings say, and whoever reaches them may read.
"""

from bqgate.admin.routes import add_control_plane

__all__ = ["add_control_plane"]
