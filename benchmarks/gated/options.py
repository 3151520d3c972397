"""Read what a benchmark's command line says."""

import argparse
from collections.abc import Sequence


def read_options(document: str | None, arguments: Sequence[str], **defaults: float) -> argparse.Namespace:
    """Numbers by their names, of the types of their defaults, and `markdown`: tables as docs/performance.md has them.

    Args:
        document: the script's docstring, which `--help` shows.
        arguments: what follows the script's name.
        defaults: the options, `seconds=5.0` for `--seconds 5`.
    """
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args(arguments)
