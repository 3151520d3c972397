"""Run a command at the outermost edge, where what may happen to any of them becomes a sentence and an exit status.

Called by main around everything, and by serve in its workers. Commands turn the faults that they know into sentences
themselves (loading.fail, surroundings.py); here is the rest: Ctrl-C (130), standard streams that are closed, full or
read by nobody any more, arguments that are no text, and an error of the operating system that no command foresaw (1).
Of the last one BQGATE_DEBUG=1 shows the traceback. Every other exception is a bug, and goes on with its traceback.
"""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

FAILED = 1
INVALID = 2
INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT


def run(command: Callable[[], object]) -> int:
    """Run a command; what it ends with. Afterwards nothing of the standard streams is left to write."""
    _open_missing_streams()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as __main__ left it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status = _run(command)
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # nobody is left to hear of it
    lost = write_out(sys.stdout)
    write_out(sys.stderr)
    if lost is None:
        return status
    _tell_lost(lost)
    return status or FAILED


def write_out(stream: TextIO) -> OSError | None:
    """Write what a stream still holds. Where that cannot be done, it leads nowhere from now on, and says why."""
    try:
        stream.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        with suppress(OSError):
            stream.flush()
        return error
    return None


def _run(command: Callable[[], object]) -> int:
    fault = _fault_of_arguments(sys.argv[1:])
    if fault:
        _tell(fault)
        return INVALID
    try:
        command()
    except SystemExit as ended:
        return _status_of(ended)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if os.environ.get("BQGATE_DEBUG"):
            raise
        return _fail(error)
    except Exception as error:
        if _is_interrupt(error):
            return INTERRUPTED
        raise
    return 0


def _fail(error: OSError) -> int:
    """Say what the operating system said."""
    lost = write_out(sys.stdout)
    if lost is not None:
        _tell_lost(lost)
        return FAILED
    about = f"{error.filename}: " if error.filename else ""
    _tell(f"{about}{_why(error)}. Mend that and try again; with BQGATE_DEBUG=1 the command shows where it happened.")
    return FAILED


def _tell_lost(error: OSError) -> None:
    """Say that the output is lost. A reader that has gone (`| head`) wants to hear nothing."""
    if error.errno != errno.EPIPE:
        _tell(f"standard output cannot be written: {_why(error)}. Send it somewhere else, or make room there.")


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def _tell(sentence: str) -> None:
    with suppress(OSError):
        sys.stderr.write(f"bqgate: {sentence}\n")
        sys.stderr.flush()


def _status_of(ended: SystemExit) -> int:
    """The status that sys.exit was told; a text is said, as Python itself does it."""
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    _tell(str(ended.code))
    return FAILED


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether a Ctrl-C is behind an error: in the middle of an import Python makes another one of it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fault_of_arguments(arguments: list[str]) -> str | None:
    """What is wrong with arguments that hold bytes which are no text; no request could name such a thing."""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            return f"argument {number} is not text in UTF-8; write it in the encoding of this terminal."
    return None


def _open_missing_streams() -> None:
    """Give a process that was started without a standard stream one that leads nowhere, and no output that fails.

    Terminals and pipes of an old encoding do not know every sign: what they cannot show is shown by its number.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - open as long as the process
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - the same
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - the same
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
