"""An engine that is reached by TLS and lets in nobody without a certificate: `dockerd --tlsverify`."""

import datetime
import ipaddress
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Literal

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from corral.sandbox import CellErrorKind, DockerProvider, SandboxSpec, SandboxUnavailable

from .engine_relay import EngineRelay

pytestmark = pytest.mark.docker


class Authority:
    """Signs certificates, which it writes with their keys into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name.from_rfc4514_string("CN=authority of a test")
        own = self._certificate(self._name, self._key, [x509.BasicConstraints(ca=True, path_length=None)])
        (folder / "ca.pem").write_bytes(own)

    def sign(self, name: str, certificate: str, key: str) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        signed = self._certificate(x509.Name.from_rfc4514_string(f"CN={name}"), private, [address])
        (self.folder / certificate).write_bytes(signed)
        (self.folder / key).write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def _certificate(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extensions: list[x509.ExtensionType]
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            self._name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
async def certificates(docker_image: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Path]:
    """The folder of the client's, for the engine that DOCKER_HOST names."""
    authority = Authority(tmp_path / "certificates")
    authority.sign("engine", "server.pem", "server-key.pem")
    authority.sign("client", "cert.pem", "key.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.folder / "ca.pem"))
    tls.load_cert_chain(authority.folder / "server.pem", authority.folder / "server-key.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    async with EngineRelay(tls) as relay:
        monkeypatch.setenv("DOCKER_HOST", relay.address)
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(authority.folder))
        yield authority.folder


@pytest.mark.parametrize("transport", ["socket", "stdio"])
async def test_sessions_are_held_there_as_anywhere(
    certificates: Path, monkeypatch: pytest.MonkeyPatch, transport: Literal["socket", "stdio"]
) -> None:
    # As on machines of companies; the engine's own authority counts all the same.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "server.pem"))
    with anyio.fail_after(30):
        async with DockerProvider(transport=transport) as provider, await provider.open() as sandbox:
            assert (await sandbox.execute("x = len(text)\nx", {"text": "x" * 9_000_000}, timeout=10)).value == 9_000_000
            await sandbox.put("in.txt", b"y" * 3_000_000)
            assert await sandbox.get("in.txt") == b"y" * 3_000_000
            crashed = await sandbox.execute("import os\nos._exit(3)", timeout=5)
            assert crashed.error is not None
            assert (crashed.error.kind, crashed.state_kept) == (CellErrorKind.CRASH, True)
            assert (await sandbox.execute("x", timeout=5)).value == 9_000_000


async def test_a_certificate_of_another_authority_is_not_let_in(certificates: Path, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    stranger.sign("stranger", "cert.pem", "key.pem")
    for name in ("cert.pem", "key.pem"):
        (certificates / name).write_bytes((stranger.folder / name).read_bytes())
    async with DockerProvider() as provider:
        with anyio.fail_after(30), pytest.raises(SandboxUnavailable, match="no Docker engine answers"):
            await provider.open(SandboxSpec(label="stranger"))


async def test_an_engine_with_a_certificate_of_another_authority_is_not_talked_to(
    certificates: Path, tmp_path: Path
) -> None:
    (certificates / "ca.pem").write_bytes((Authority(tmp_path / "other").folder / "ca.pem").read_bytes())
    async with DockerProvider() as provider:
        with anyio.fail_after(30), pytest.raises(SandboxUnavailable, match="certificate verify failed"):
            await provider.open()


async def test_certificates_that_are_not_there_are_named(certificates: Path) -> None:
    (certificates / "key.pem").unlink()
    async with DockerProvider() as provider:
        with pytest.raises(SandboxUnavailable, match=r"has no key\.pem"):
            await provider.open()
