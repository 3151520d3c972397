"""Start the command line: ``bqgate``, and ``python -m bqgate``.

Importing the commands takes a second or more. Until they are there, Ctrl-C ends the process as the operating system
does it, without a word; from then on cli.edge answers for it.
"""

import signal

# A shell that starts a command in the background has it ignore Ctrl-C; that stays.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Run a command; the entry point of the package."""
    from bqgate.cli import main as run  # noqa: PLC0415 - what takes so long

    run()


if __name__ == "__main__":
    main()
