"""Read single values of the settings: URLs that may hold a password, where issuers of tokens are, hosts, networks.

Used as the types of keys in sections.py, beside those of policies.values; each reader raises ValueError with what to
write instead, which pydantic collects. A SecretUrl prints without its password, whoever prints it.
"""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from bqgate.settings.secret_text import MASK, SecretText, read_token_secret
from bqgate.wire.authority import EVERY_HOST, read_authority


@dataclass(frozen=True, slots=True)
class SecretUrl:
    """A URL that may bear a password. Only `reveal` shows it whole."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        """The URL as it was given, for the one who connects."""
        return self._text

    @property
    def scheme(self) -> str:
        return self._text.partition(":")[0].lower()

    @property
    def login(self) -> tuple[str, str] | None:
        """User and password, for the one who judges them; None where it bears no password."""
        try:
            parts = urlsplit(self._text)
        except ValueError:
            return None
        by_query = dict(parse_qsl(parts.query)).get("password")
        password = by_query if parts.password is None else unquote(parts.password)
        return (unquote(parts.username or ""), password) if password else None

    def __str__(self) -> str:
        # Greedy up to the last @: a password that somebody forgot to escape may hold one too.
        text = re.sub(r"(://[^:/?#]*):.*@", rf"\1:{MASK}@", self._text, flags=re.DOTALL)
        return re.sub(r"(pass[a-z]*=)[^&]*", rf"\1{MASK}", text, flags=re.IGNORECASE)


def read_web_url(value: object) -> str:
    """The root of a web server, without a path: what paths are put behind."""
    url = _read_url(value, example="https://bigquery.googleapis.com")
    parts = urlsplit(url)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("must end after the host and port; paths are added to it")
    return url.rstrip("/")


def read_issuer_url(value: object) -> str:
    """Who signs tokens, or where its keys are: kept letter by letter, because tokens name their issuer so."""
    url = _read_url(value, example="https://accounts.example.com")
    if url.startswith("http:") and not is_loopback(urlsplit(url).hostname or ""):
        raise ValueError("must begin with https://; whoever can change an answer on its way could log in as anybody")
    if urlsplit(url).fragment:
        raise ValueError("must end before the #")
    return url


def read_mirror_dataset(value: str) -> str:
    """A dataset with its project. Ids of projects that belong to a domain hold a colon and may hold dots."""
    if not re.fullmatch(r"([a-z0-9.-]{1,253}:)?[a-z][a-z0-9-]{0,62}\.[A-Za-z0-9_]{1,1024}", value):
        raise ValueError(f"{value!r:.80} is no dataset; write project.dataset")
    return value


def read_iam_member(value: str) -> str:
    """Somebody as IAM names them."""
    if not re.fullmatch(r"(user|group|serviceAccount):[^\s\"@]+@[^\s\"@]+|domain:[^\s\"@]+", value):
        raise ValueError(f"{value!r:.80} is nobody to IAM; write like group:finops@example.com, user:…, domain:…")
    return value


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can be there, or call from there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """An address, or a network of them in CIDR notation."""
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    try:
        network = ipaddress.ip_network(value if isinstance(value, str) else "", strict=False)
    except ValueError:
        raise ValueError('must be an address or a network, like "10.0.0.7" or "10.0.0.0/8"') from None
    if ipaddress.ip_address(str(value).partition("/")[0]) != network.network_address:
        raise ValueError(f"names one address and a network around it; write {network}, or the address alone")
    return network


def read_host_pattern(value: object) -> str:
    """A name by which the gate is called, or `*.` and what all such names end in, or `*` for every name."""
    text = value.lower().rstrip(".") if isinstance(value, str) else ""
    if "://" in text or "/" in text:
        raise ValueError('must be a host alone, without scheme and path, like "gate.example.com"')
    if not text.isascii():
        raise ValueError("must be written as browsers send it, in punycode, which begins with xn--")
    if text == EVERY_HOST:
        return text
    authority = read_authority(f"[{text}]" if text.count(":") > 1 else text.removeprefix("*."))
    if authority is None or (authority.is_address and text.startswith("*.")):
        raise ValueError('must be a name, like "gate.example.com", "*.example.com" or "*"')
    if authority.port is not None:
        raise ValueError("names a port, and every port of a host is meant; leave it out")
    return f"*.{authority.host}" if text.startswith("*.") else authority.host


def read_list(value: object) -> object:
    """A list, which in the environment is one text with commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _read_url(value: object, *, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f'must be a URL, like "{example}"')
    try:
        parts = urlsplit(value)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise ValueError(f"is not a URL; write it like {example}") from None
    if parts.scheme not in {"http", "https"} or not has_host:
        raise ValueError("must begin with https:// or http:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user and no password; the gate sends credentials in a header")
    return value


def read_store_url(value: object, *, schemes: Collection[str], example: str) -> SecretUrl:
    """The URL of a store. What is wrong with it is said without quoting it."""
    if isinstance(value, SecretUrl):
        return value
    if not isinstance(value, str) or "://" not in value:
        raise ValueError(f"must be a URL, like {example}")
    url = SecretUrl(value)
    if url.scheme not in schemes:
        raise ValueError(f"begins with {url.scheme}://; this gate knows {', '.join(f'{each}://' for each in schemes)}")
    return url


def read_budgets_url(value: object) -> SecretUrl:
    """Where budgets are kept."""
    by_several = ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
    schemes = ("memory", "redis", "rediss", "unix", *by_several)
    return read_store_url(value, schemes=schemes, example="redis://localhost:6379/0")


def read_ledger_url(value: object) -> SecretUrl:
    """Where the ledger is kept. A database in memory would forget what was booked."""
    url = read_store_url(value, schemes=("sqlite", "postgresql"), example="sqlite:///bqgate.db")
    _, _, rest = url.reveal().partition("://")
    if url.scheme == "sqlite" and (rest in {"", "/", "/:memory:"} or "mode=memory" in rest):
        raise ValueError("a ledger in memory forgets what was booked; give it a file, like sqlite:///bqgate.db")
    return url


_as_text = PlainSerializer(str, return_type=str)

Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(read_network), _as_text]
HostPatterns = Annotated[tuple[Annotated[str, BeforeValidator(read_host_pattern)], ...], BeforeValidator(read_list)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(read_list)]
WebUrl = Annotated[str, BeforeValidator(read_web_url)]
IssuerUrl = Annotated[str, BeforeValidator(read_issuer_url)]
BudgetsUrl = Annotated[SecretUrl, BeforeValidator(read_budgets_url), _as_text]
LedgerUrl = Annotated[SecretUrl, BeforeValidator(read_ledger_url), _as_text]
MirrorDataset = Annotated[str, AfterValidator(read_mirror_dataset)]
IamMember = Annotated[str, AfterValidator(read_iam_member)]
TokenSecret = Annotated[SecretText, BeforeValidator(read_token_secret), _as_text]
