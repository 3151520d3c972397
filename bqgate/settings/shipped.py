"""Find the files of config/ that are part of the package: list prices, and settings to begin with.

Called by prices and by the command init. pyproject.toml puts them into the wheel.
"""

from pathlib import Path

import bqgate


def shipped_file(name: str) -> Path:
    """Where a file of config/ is: inside the installed package, or beside it in a checkout."""
    package = Path(bqgate.__file__).parent
    installed = package / "config" / name
    return installed if installed.is_file() else package.parent / "config" / name
