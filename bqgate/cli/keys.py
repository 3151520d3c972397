"""Hand out, list, rotate and revoke keys: ``bqgate keys create | token | list | rotate | revoke``.

By the admin API, or with --local in the ledger's database itself (local_keys.py), which is how the first super_admin
comes to be. A key file is written for its owner alone and never over another file; a token is printed once.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bqgate.cli.client import Caller, KeyFile, TokenStdin, Url, connected
from bqgate.cli.config_file import ConfigFile
from bqgate.cli.edge import write_out
from bqgate.cli.loading import fail
from bqgate.cli.local_keys import LocalKeys, Order, with_local_keys
from bqgate.cli.secret_file import reserved
from bqgate.cli.tables import AsJson, print_list
from bqgate.domain.key import KeyKind
from bqgate.domain.principal import Role

if TYPE_CHECKING:
    from bqgate.cli.control_plane import ControlPlane

keys = typer.Typer(name="keys", help="Key files and tokens: who may call the gate.", no_args_is_help=True)

PATH = "/admin/v1/keys"
_COLUMNS = ("id", "kind", "role", "customer", "principal", "created_at", "ends_at", "is_valid", "created_by")
_OWN_CUSTOMER = (Role.USER, Role.ANALYST)

_LAST_KEY = (
    "{key_id} is the last valid key of a super_admin. Make another first, or revoke it all the same with --force; the "
    "way back is then `bqgate keys create --role super_admin --local` where the ledger is."
)

RoleName = Annotated[
    Literal["user", "analyst", "admin", "super_admin"],
    typer.Option("--role", help="What its holder may do.", show_default=False),
]
Customer = Annotated[
    str | None, typer.Option("--customer", help="Who pays; needed for users and analysts.", show_default=False)
]
Principal = Annotated[
    str | None,
    typer.Option(
        "--principal", help="The name under which its holder spends; else one of the key's own.", show_default=False
    ),
]
ExpiresDays = Annotated[
    int | None,
    typer.Option("--expires-days", min=1, max=3650, help="When it ends by itself; else never.", show_default=False),
]
ExternalAccount = Annotated[
    Path | None,
    typer.Option(
        "--external-account",
        help="Write a file that makes Google's clients log in with the token; needs --out.",
        show_default=False,
    ),
]
Local = Annotated[
    bool, typer.Option("--local", help="Write to the ledger's database of --config instead of asking the gate.")
]
KeyId = Annotated[str, typer.Argument(help="The key's id, as `bqgate keys list` shows it.", show_default=False)]


@keys.command("create")
def create_key(  # noqa: PLR0913 - the options of a command
    *,
    role: RoleName,
    customer: Customer = None,
    principal: Principal = None,
    project: Annotated[
        str | None,
        typer.Option("--project", help="Project in the file; else the customer's first.", show_default=False),
    ] = None,
    expires_days: ExpiresDays = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to write it; else bqgate-CUSTOMER-ROLE.json here.", show_default=False),
    ] = None,
    token: Annotated[bool, typer.Option("--token", help="A static token instead of a key file; printed once.")] = False,
    external_account: ExternalAccount = None,
    local: Local = False,
    config: ConfigFile = None,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
) -> None:
    """Make a key: a service-account JSON whose clients log in at the gate, or a static token."""
    kind = KeyKind.TOKEN if token else KeyKind.KEY_FILE
    order = Order(Role(role), kind, customer, principal, project, expires_days)
    _create(order, out, external_account, Caller(url, key_file, token_stdin), config, is_local=local)


@keys.command("token")
def create_token(
    *,
    role: RoleName,
    customer: Customer = None,
    principal: Principal = None,
    expires_days: ExpiresDays = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write it here instead of printing it.", show_default=False)
    ] = None,
    external_account: ExternalAccount = None,
    local: Local = False,
    config: ConfigFile = None,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
) -> None:
    """Make a static token for what cannot log in with a key file: create --token."""
    order = Order(Role(role), KeyKind.TOKEN, customer, principal, None, expires_days)
    _create(order, out, external_account, Caller(url, key_file, token_stdin), config, is_local=local)


@keys.command("list")
def list_keys(
    *,
    local: Local = False,
    config: ConfigFile = None,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """List all keys, ended ones too, without their secrets."""
    if local:
        found = with_local_keys(config, LocalKeys.fetch)
    else:
        with connected(Caller(url, key_file, token_stdin)) as plane:
            found = list(plane.items(PATH, "keys"))
    print_list(found, _COLUMNS, as_json=as_json)


@keys.command("rotate")
def rotate_key(
    key_id: KeyId,
    *,
    overlap_minutes: Annotated[
        int, typer.Option("--overlap-minutes", min=0, max=129_600, help="How long the old one still works.")
    ] = 1_440,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to write a key file; else bqgate-ID-rotated.json here.", show_default=False),
    ] = None,
    external_account: ExternalAccount = None,
    local: Local = False,
    config: ConfigFile = None,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
) -> None:
    """Replace a key by a new one of the same holder; both work for a while."""
    caller = Caller(url, key_file, token_stdin)
    kind = _kind_of(key_id, caller, config, is_local=local)
    with _handing_out(kind, out, external_account, default=f"bqgate-{key_id}-rotated.json") as hand_out:
        if local:
            made = with_local_keys(config, lambda each: each.rotate(key_id, overlap_minutes=overlap_minutes))
            ends_at = made["replaced_ends_at"]
            hand_out(made)
        else:
            with connected(caller) as plane:
                made = plane.change("POST", f"{PATH}/{key_id}:rotate", {"overlap_minutes": overlap_minutes}).content
                ends_at = made["replaced_ends_at"]
                hand_out(made)
    typer.echo(f"The key {key_id} ends at {ends_at}.", err=True)


@keys.command("revoke")
def revoke_key(
    key_id: KeyId,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also the last key of a super_admin.")] = False,
    local: Local = False,
    config: ConfigFile = None,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
) -> None:
    """End a key now, on every replica within seconds."""
    _check_id(key_id)
    if local:
        with_local_keys(config, lambda each: each.revoke(key_id, is_forced=force))
    else:
        with connected(Caller(url, key_file, token_stdin)) as plane:
            _revoke(plane, key_id, is_forced=force)
    typer.echo(f"Revoked the key {key_id}.")


def _revoke(plane: "ControlPlane", key_id: str, *, is_forced: bool) -> None:
    from bqgate.cli.control_plane import Refused  # noqa: PLC0415 - as in client

    try:
        plane.change("DELETE", f"{PATH}/{key_id}{'?force=true' if is_forced else ''}")
    except Refused as refused:
        if refused.status == 409 and not is_forced:
            raise Refused(_LAST_KEY.format(key_id=key_id), status=refused.status) from None
        raise


def _create(
    order: Order,
    out: Path | None,
    external_account: Path | None,
    caller: Caller,
    config: Path | None,
    *,
    is_local: bool,
) -> None:
    if order.role in _OWN_CUSTOMER and order.customer is None:
        raise typer.BadParameter(f"a key of the role {order.role} needs one: who pays?", param_hint="--customer")
    holder = re.sub(r"[^A-Za-z0-9._-]", "_", order.customer) if order.customer else "gate"
    with _handing_out(order.kind, out, external_account, default=f"bqgate-{holder}-{order.role}.json") as hand_out:
        if is_local:
            hand_out(with_local_keys(config, lambda each: each.create(order), may_make_tables=True))
        else:
            body = {
                "role": order.role,
                "kind": order.kind,
                "customer": order.customer,
                "principal": order.principal,
                "project_id": order.project_id,
                "expires_in_days": order.expires_in_days,
            }
            with connected(caller) as plane:
                hand_out(
                    plane.change("POST", PATH, {name: each for name, each in body.items() if each is not None}).content
                )


@contextmanager
def _handing_out(
    kind: KeyKind, out: Path | None, external_account: Path | None, *, default: str
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Where a new key's secret goes; the files are there before the key is, and gone again without one."""
    if external_account is not None and (kind is not KeyKind.TOKEN or out is None):
        raise typer.BadParameter("goes with a token that --out writes to a file", param_hint="--external-account")
    if out is None and kind is KeyKind.KEY_FILE:
        out = Path(default)
    with ExitStack() as stack:
        file = None if out is None else stack.enter_context(reserved(out, "--out"))
        account = (
            None if external_account is None else stack.enter_context(reserved(external_account, "--external-account"))
        )

        def hand_out(made: Mapping[str, Any]) -> None:
            secret = made["token"] if kind is KeyKind.TOKEN else json.dumps(made["key_file"], indent=2)
            try:
                # Google's clients send all that a token's file holds: it ends without a new line.
                print(secret, file=file, end="\n" if file is None else "", flush=True)
                if account is not None and out is not None:
                    source = made["external_account"]["credential_source"] | {"file": str(out.resolve())}
                    print(json.dumps(made["external_account"] | {"credential_source": source}, indent=2), file=account)
            except OSError as error:
                write_out(sys.stdout)
                revoke = f"Nobody holds the key {made['id']} now: bqgate keys revoke {made['id']}"
                fail(f"{out or 'standard output'}: {error.strerror}. {revoke}")
            _tell(made, out)

        yield hand_out


def _tell(made: Mapping[str, Any], out: Path | None) -> None:
    """What was made, beside the secret, on standard error: the output can be piped."""
    payer = f" of {made['customer']}" if made["customer"] else ""
    end = f"; it ends at {made['ends_at']}" if made["ends_at"] else ""
    typer.echo(f"Made the key {made['id']}: {made['role']}{payer}, spends as {made['principal']}{end}.", err=True)
    where = "The token above is shown" if out is None else f"{out} is its secret: it is shown"
    typer.echo(f"{where} this once, and the gate keeps no copy.", err=True)


def _kind_of(key_id: str, caller: Caller, config: Path | None, *, is_local: bool) -> KeyKind:
    """What a key is that is to be replaced: where the new one goes is made ready first."""
    _check_id(key_id)
    if is_local:
        return with_local_keys(config, lambda each: each.kind_of(key_id))
    with connected(caller) as plane:
        return KeyKind(plane.read(f"{PATH}/{key_id}").content["kind"])


def _check_id(key_id: str) -> None:
    if re.fullmatch(r"[0-9a-f]{16}", key_id) is None:
        raise typer.BadParameter("a key's id has 16 digits and letters a to f", param_hint="KEY_ID")
