"""Look at tiers and change them by the admin API: ``bqgate tiers list | show | set | delete``."""

from bqgate.cli.documents import Kind
from bqgate.cli.policy_commands import policy_commands
from bqgate.policies.models import TierPolicy

tiers = policy_commands(
    Kind(
        noun="tier",
        plural="tiers",
        model=TierPolicy,
        columns=("name", "daily_usd", "monthly_usd", "emergency_usd", "query_usd", "throttle_wait_ms", "source"),
    ),
    help_text="The limits that classes of customers share.",
    name_help="The tier's name.",
    examples="daily_usd=12.50, thresholds='[{used_ratio: \"0.9\", action: throttle}]'",
)
