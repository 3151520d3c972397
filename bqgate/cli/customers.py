"""Look at customers and change them by the admin API: ``bqgate customers list | show | set | delete``."""

from bqgate.cli.documents import Kind
from bqgate.cli.policy_commands import policy_commands
from bqgate.policies.models import CustomerPolicy

customers = policy_commands(
    Kind(
        noun="customer",
        plural="customers",
        model=CustomerPolicy,
        columns=("name", "tier", "mode", "time_zone", "projects", "principals", "data", "source"),
    ),
    help_text="Who pays, under which tier, and what they may touch.",
    name_help="The customer's id.",
    examples="tier=premium, projects='[acme-prod, acme-dev]', time_zone=Europe/Berlin",
)
