"""TLS certificates of each kind, created on demand.

The only module here that requires a package: cryptography.
"""

import ipaddress
import ssl
import tempfile
import warnings
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from .certificate_kinds import KINDS

_HERE: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
_ELSEWHERE: list[x509.GeneralName] = [x509.DNSName("elsewhere.example")]
_DAY = timedelta(days=1)


class Authority:
    """A certificate authority, and a TLS server context for each kind of certificate."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("Scripted authority")
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key(), ends_in=_DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        """The certificate that a client must trust."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    def context(self, kind: str = "good") -> ssl.SSLContext:
        """Return a server context for one of `KINDS`. A client of this authority must reject all but `good`."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")
        signer = Authority() if kind == "unknown-authority" else self
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = signer._signed(
            key,
            names=_ELSEWHERE if kind == "wrong-host" else _HERE,
            ends_in=-_DAY if kind == "expired" else _DAY,
            by_itself=kind == "self-signed",
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if kind == "old-version":
            _allow_old_versions_only(context)
        with tempfile.NamedTemporaryFile() as file:  # the standard library loads certificates from files only
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.write(certificate.public_bytes(Encoding.PEM))
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def _signed(
        self, key: ec.EllipticCurvePrivateKey, *, names: list[x509.GeneralName], ends_in: timedelta, by_itself: bool
    ) -> x509.Certificate:
        subject = _named("Scripted upstream")
        issuer_key = key if by_itself else self._key
        return (
            _builder(subject, subject if by_itself else self._name, key.public_key(), ends_in=ends_in)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .sign(issuer_key, hashes.SHA256())
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, ends_in: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(now + ends_in)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _allow_old_versions_only(context: ssl.SSLContext) -> None:
    """Allow TLS 1.0 and 1.1 only. Python warns about them, and OpenSSL requires its lowest security level."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
