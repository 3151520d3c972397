"""Offer the command line: ``bqgate serve | sandbox | demo | check-config | migrate | doctor | keys | …``.

One file per command; each loads the settings, calls one room and turns what it raises into a sentence and an exit
status: 0 done, 1 something outside does not work, 2 the caller's mistake (arguments or settings).
"""

import typer

from bqgate.cli.breakers import breakers
from bqgate.cli.budgets import budgets
from bqgate.cli.check_config import check_config
from bqgate.cli.customers import customers
from bqgate.cli.demo import demo
from bqgate.cli.doctor import doctor
from bqgate.cli.healthcheck import healthcheck
from bqgate.cli.holds import holds
from bqgate.cli.jobs import jobs
from bqgate.cli.keys import keys
from bqgate.cli.ledger import ledger
from bqgate.cli.migrate import migrate
from bqgate.cli.sandbox import sandbox
from bqgate.cli.serve import serve
from bqgate.cli.spend import spend
from bqgate.cli.tiers import tiers

app = typer.Typer(
    name="bqgate",
    help="A gate in front of BigQuery: every query is priced, held against a budget, and booked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, credentials among them
)
app.command()(serve)
# Its options are the sandbox's own; they are handed on as they are.
app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(sandbox)
app.command()(demo)
app.command()(check_config)
app.command()(migrate)
app.command()(doctor)
app.command()(healthcheck)
app.add_typer(keys)
app.add_typer(tiers)
app.add_typer(customers)
app.add_typer(budgets)
app.add_typer(jobs)
app.command()(spend)
app.add_typer(holds)
app.add_typer(breakers)
app.add_typer(ledger)


def main() -> None:
    """Run a command; the entry point of the package."""
    app()
