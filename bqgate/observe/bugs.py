"""Say where an error happened without saying what was in it, which may be a credential.

Used by whoever catches everything: the gate's middleware and its server's log.
"""

import traceback

_FRAMES_TOLD = 5


def frames_of(error: BaseException) -> list[str]:
    """The innermost places in the code, the last one is where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_TOLD:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
