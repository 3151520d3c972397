"""Make visible what the gate does: metrics.py declares every metric, logs.py writes lines, telemetry.py joins both.

Steps know the Telemetry port alone. What leaves here is text for Prometheus and lines of JSON; never a credential,
never SQL (invariant 10).
"""
