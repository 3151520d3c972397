"""Find, in what the demo says, the command that it tells people to copy."""

import re


def command_in(said: str) -> str:
    """From its first line, which opens a document for the shell, to that document's end."""
    found = re.search(r"^\S+ - <<'END'$.*?^END$", said, flags=re.MULTILINE | re.DOTALL)
    assert found, f"no command to copy in {said}"
    return found[0]
