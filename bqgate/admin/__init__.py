"""Answer about money, rules, keys and the audit log to who may ask: the control plane.

control_plane.py  what it works with, and add_control_plane, which app calls
operation.py      what an operation is: method, path, parameters, answers
routes.py         mounts operations: identify, count, permit, answer
guard.py          who calls, and may they
permissions.py    THE table of roles
rate_limits.py    how often, over memory or Redis (budgets/rate_storage.py)
parameters.py     strict reading of query parameters
body.py           strict reading of bodies
problem.py        errors as application/problem+json
events.py         what is told to the audit log
openapi.py        the OpenAPI document, out of the operations
page.py           what HTML pages have in common: openapi_page.py (with schema_page.py, markup.py), landing_page.py at /
schemas.py        the answers' models; documents.py fills them: money as decimal strings, moments in RFC 3339

budget.py         a customer's budgets, and what a query of some cost would get; budget_list.py all budgets
increases.py      what is put on top of budgets for a while
budget_status.py  how it stands past its limits: emergency, grace, cost breaker; breakers.py resets the breaker
jobs.py           jobs and refusals out of the ledger; bookings.py open holds and the last hours' costs
spend.py          spend by day, week and month
health.py         alive, ready, metrics
policies.py       tiers, customers, budgets, pricing: shown and changed (policy_operations.py, policy_schemas.py,
                  etags.py, merge_patch.py)
keys.py           keys (key_changes.py), logins.py the token endpoint, audit.py the audit log, holds_void.py
"""

from bqgate.admin.control_plane import ControlPlane, add_control_plane

__all__ = ["ControlPlane", "add_control_plane"]
