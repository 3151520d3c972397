"""Notice that a file was replaced, through symbolic links: orchestrators replace a mounted file by moving a link.

Used by tls and reload, which look every few seconds (https://kubernetes.io/docs/concepts/configuration/configmap/).
A FileVersion differs after any change.
"""

from pathlib import Path

# Device, inode, moment of the last change and size of what a path leads to; None: it leads nowhere.
FileVersion = tuple[int, int, int, int] | None


def file_version(path: Path) -> FileVersion:
    """What lies at a path now."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
