"""Take values of the environment from files: BQGATE_<SECTION>__<KEY>_FILE names a file that holds the key's value.

Used by document. This is how secrets of Docker and Kubernetes reach a program: as files, which `docker inspect` does
not show and child processes do not inherit, as they do variables. Keys that are files by themselves, like
server.tls_cert_file, are named as they are. app looks at these files, too, to follow a secret that was replaced.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bqgate.settings.sections import NAMED_SECTIONS, SECTIONS

PREFIX = "BQGATE_"

_SUFFIX = "_file"
# Far more than any key or URL is long.
_BYTES_MAX = 64 * 1024


def names_a_file(section: str, key: str) -> bool:
    """Whether a key of the environment means: the value of the key without its suffix is in this file."""
    model = SECTIONS.get(section) or NAMED_SECTIONS.get(section)
    return model is not None and key not in model.model_fields and key.removesuffix(_SUFFIX) in model.model_fields


def without_suffix(path: Sequence[str]) -> tuple[str, ...]:
    """The path that the file's value is for."""
    *above, key = path
    return (*above, key.removesuffix(_SUFFIX))


def read_value(file: Path) -> str:
    """What a file holds, without the line's end that editors and `echo` write.

    Raises:
        ValueError: it cannot be read, or there is nothing in it; the message never quotes what it holds.
    """
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):
            # Opening a pipe waits for its writer, and what is read is gone at the next look; a device never ends.
            raise ValueError(f"{file} is no plain file; write the value into one")
        with file.open("rb") as opened:
            content = opened.read(_BYTES_MAX + 1)
        text = content[:_BYTES_MAX].decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not text in UTF-8") from None
    if len(content) > _BYTES_MAX:
        raise ValueError(f"{file} is longer than {_BYTES_MAX} bytes; it cannot be a value")
    if not text:
        raise ValueError(f"{file} is empty; write the value into it")
    return text


def value_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that the environment takes values from."""
    found = []
    for variable, value in sorted(environ.items()):
        section, *keys = variable.removeprefix(PREFIX).lower().split("__")
        if variable.startswith(PREFIX) and keys and names_a_file(section, keys[-1]):
            found.append(Path(value))
    return tuple(found)
