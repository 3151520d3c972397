"""Price charges again after a change of prices, by adjustments; nothing that is booked is edited.

rerating.py     goes through the charges of a span of time, counts what would change, and books it
repricing.py    what one charge costs by the new prices: by the ledger where that tells enough, else by BigQuery
report.py       sums by customer, and why charges were left as they are
"""

from bqgate.settlement.rerating.report import CustomerSums, LeftOut, RerateReport
from bqgate.settlement.rerating.rerating import RERATED, Rerating, Span

__all__ = ["RERATED", "CustomerSums", "LeftOut", "RerateReport", "Rerating", "Span"]
