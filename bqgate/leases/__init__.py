"""Have one replica of many do what only one should do at a time.

lease.py  contends for a lease, keeps it, and runs the work while it has it
"""

from bqgate.leases.lease import Lease

__all__ = ["Lease"]
