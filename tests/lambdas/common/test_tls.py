"""Certificates under VERIFY_X509_STRICT, which Python 3.13 and later set by default (python/cpython#107361)."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from common import tls
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "db.example"
BUNDLED = re.findall(
    r"^# (.*)\n(-----BEGIN CERTIFICATE-----\n[^-]+\n-----END CERTIFICATE-----)", tls.RDS_CA_BUNDLE.read_text(), re.MULTILINE
)


def test_every_authority_of_rds_passes_strict_verification() -> None:
    """The extensions that OpenSSL requires of an authority: check_extensions in crypto/x509/x509_vfy.c."""
    assert len(BUNDLED) > 100
    for name, pem in BUNDLED:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
        assert (constraints.critical, constraints.value.ca) == (True, True), name
        assert extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign, name
        assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest, name
        if certificate.issuer != certificate.subject:
            assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier, name


def test_bundle_has_a_valid_authority_for_each_named_region() -> None:
    """`rds-ca-rsa2048-g1`, which the template names, in each region with certificates of its own."""
    now = datetime.now(UTC)
    valid = {name for name, pem in BUNDLED if x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc > now}
    regions = {match[1] for name, _ in BUNDLED if (match := re.match(r"Amazon RDS ([a-z]{2}(?:-[a-z]+)+-\d) ", name))}
    assert len(regions) > 25
    assert {region for region in regions if f"Amazon RDS {region} Root CA RSA2048 G1" not in valid} == set()


def test_contexts_verify_strictly(tmp_path: Path) -> None:
    authority, _ = _issue()
    (tmp_path / "ca.pem").write_bytes(authority)
    for context in (
        tls.instance_context("db.us-east-1.rds.amazonaws.com"),
        tls.public_context(str(tmp_path / "ca.pem")),
        tls.proxy_context(),
    ):
        assert context.verify_flags & tls.VERIFY == tls.VERIFY
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("identified", [True, False])
def test_server_without_authority_key_identifier_is_refused(tmp_path: Path, identified: bool) -> None:
    authority, server = _issue(identified=identified)
    for name, content in (("ca.pem", authority), ("server.pem", server)):
        (tmp_path / name).write_bytes(content)
    context = tls.public_context(str(tmp_path / "ca.pem"))
    if identified:
        _handshake(context, tmp_path / "server.pem")
        return
    with pytest.raises(ssl.SSLCertVerificationError, match="Missing Authority Key Identifier"):
        _handshake(context, tmp_path / "server.pem")


def _issue(*, identified: bool = True) -> tuple[bytes, bytes]:
    """An authority, and the key and certificate of a server; without `identified` it does not identify its authority's key."""
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", HOST)]

    def start(subject: int) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(names[0], names[subject], keys[subject].public_key(), x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))

    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign", "encipher_only", "decipher_only"), False
    )  # fmt: skip
    authority = (
        start(0)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[0].public_key()), critical=False)
        .sign(keys[0], hashes.SHA256())
    )
    server = start(1).add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    server = server.add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[1].public_key()), critical=False)
    if identified:
        server = server.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
    pem = serialization.Encoding.PEM
    key = keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return authority.public_bytes(pem), key + server.sign(keys[0], hashes.SHA256()).public_bytes(pem)


def _handshake(context: ssl.SSLContext, server: Path) -> None:
    """Connect in memory."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [context.wrap_bio(to_client, to_server, server_hostname=HOST), serving.wrap_bio(to_server, to_client, server_side=True)]
    while ends:
        for end in [*ends]:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
