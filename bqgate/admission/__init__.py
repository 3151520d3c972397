"""May it run? Estimate, size, hold, decide, wait: steps 3 to 8 of the request path.

``admit.Admission.admit`` tells it in order. Knows ports and the domain; no HTTP, no Redis, no SQL.
"""
