"""Run the command line with ``python -m bqgate``."""

from bqgate.cli import main

main()
