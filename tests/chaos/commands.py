"""Run commands of `bqgate` one after the other in one process: each line of the input is one, as a JSON list of words.

What they print is printed. Ends with the status of the first that fails. Imports nothing but what every revision has.
"""

import json
import sys

from bqgate.__main__ import main


def run_all() -> None:
    """All of them."""
    for line in sys.stdin.read().splitlines():
        sys.argv[1:] = json.loads(line)
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                raise


if __name__ == "__main__":
    run_all()
