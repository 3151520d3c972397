"""Make certificates for localhost that sign themselves, and write them where a server reads them."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_BEGINS_AT = datetime(2020, 1, 1, tzinfo=UTC)
_NEVER = datetime(2120, 1, 1, tzinfo=UTC)


def make_pair(name: str, *, password: bytes | None = None, ends_at: datetime = _NEVER) -> tuple[bytes, bytes]:
    """A certificate of that common name for localhost, and its key; both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGINS_AT)
        .not_valid_after(ends_at)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return certificate.public_bytes(serialization.Encoding.PEM), private


def write_pair(pair: tuple[bytes, bytes], cert_file: Path, key_file: Path) -> None:
    """Write both, one after the other."""
    cert_file.write_bytes(pair[0])
    key_file.write_bytes(pair[1])
