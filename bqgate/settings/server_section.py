"""List the keys of the section server: where the gate listens, and whose word about callers it takes.

Listed by sections.py; read by app.
"""

from pathlib import Path

from pydantic import Field

from bqgate.policies.values import Whole
from bqgate.settings.fields import HostPatterns, Networks, is_loopback
from bqgate.settings.section import Section


class ServerSection(Section):
    """Where the gate listens."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 is every one.")
    port: Whole = Field(8080, ge=0, le=65535, description="Port of the data plane; 0 takes a free one.")
    control_port: Whole | None = Field(
        None, ge=1, le=65535, description="Port of the control plane; without it, it shares the data plane's."
    )
    workers: Whole = Field(
        1, ge=1, le=64, description="Processes that share the ports; more than one needs budgets in Redis."
    )
    trusted_proxies: Networks = Field(
        (),
        max_length=100,
        description="Addresses and networks of reverse proxies whose Forwarded and X-Forwarded-* headers are believed.",
    )
    allowed_hosts: HostPatterns = Field(
        (),
        max_length=1000,
        description="Names by which clients call the gate, beside localhost and addresses; *.example.com: all below "
        "it, *: any. An open gate answers to no other; without it, one that requires a login answers to all.",
    )
    tls_cert_file: Path | None = Field(
        None, description="Certificate chain in PEM, for https on both ports; read again when the file changes."
    )
    drain_s: Whole = Field(
        0, ge=0, le=300, description="How long a gate that is told to stop stays up without being ready."
    )
    head_timeout_s: Whole = Field(
        30, ge=1, le=600, description="How long a request's head may take, TLS handshake included."
    )
    open_heads_max: Whole = Field(
        1_000, ge=10, le=100_000, description="Connections without a whole head; beyond it the oldest are closed."
    )
    open_heads_per_address: Whole = Field(
        200, ge=10, le=100_000, description="The same for one address, once they are older than a second."
    )
    open_bodies_max: Whole = Field(
        1_000,
        ge=10,
        le=100_000,
        description="Connections whose body is not whole, and as many whose answer is not taken; beyond it those that "
        "stand still longest are closed.",
    )
    idle_connections_max: Whole = Field(
        2_000, ge=10, le=100_000, description="Connections between two requests; beyond it the oldest are closed."
    )
    body_timeout_s: Whole = Field(
        60,
        ge=1,
        le=3_600,
        description="How long a body may take that is read into memory, and a second more for each 32 KiB that come; "
        "what streams through may go on.",
    )
    bodies_mib: Whole = Field(
        256, ge=96, le=65_536, description="Callers' bodies in memory at once, for each process, unpacked."
    )
    tls_key_file: Path | None = Field(None, description="Private key of the certificate in PEM, without a passphrase.")

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can call."""
        return is_loopback(self.host)
