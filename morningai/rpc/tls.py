"""Who a server is and whom it takes, by certificates: read from files, and read again when these change."""

from __future__ import annotations

import re
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from morningai.settings import ServiceSettings, SettingsInvalid

log = structlog.get_logger()

LOCAL = re.compile(r"unix:.*|(localhost|127\.[0-9.]+|\[::1\]):\d+")


@dataclass(frozen=True)
class CertificateFiles:
    """PEM files. With `ca`, the other side must show a certificate that this authority signed.

    `setting` is what the names of their settings begin with, for what is said of a wrong one.
    """

    certificate: Path
    key: Path
    ca: Path | None
    setting: str

    def read(self) -> Certificates:
        """Raises SettingsInvalid that names the setting."""
        certificates = Certificates(
            self._content(self.certificate, "CERTIFICATE"),
            self._content(self.key, "KEY"),
            self._content(self.ca, "CA") if self.ca else None,
        )
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            raise self._wrong("KEY", f"{self.key} is not the key of {self.certificate}.") from error
        if certificates.ca is not None:
            self._check_ca(certificates.ca)
        return certificates

    def _check_ca(self, content: bytes) -> None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=content.decode())
        except (ssl.SSLError, ValueError) as error:
            raise self._wrong("CA", f"{self.ca} holds no certificate.") from error

    def state(self) -> tuple[object, ...]:
        """Another one once a file was replaced or written."""
        found = [path.stat() for path in (self.certificate, self.key, self.ca) if path]
        return tuple((status.st_ino, status.st_mtime_ns, status.st_size) for status in found)

    def _content(self, path: Path, what: str) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise self._wrong(what, f"{path} cannot be read: {error.strerror}.") from error

    def _wrong(self, what: str, problem: str) -> SettingsInvalid:
        return SettingsInvalid(f"The settings are wrong.\nMORNINGAI_{self.setting}_{what}_FILE: {problem}")


@dataclass(frozen=True)
class Certificates:
    certificate: bytes
    key: bytes
    ca: bytes | None

    def server_configuration(self) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(self.key, self.certificate)], root_certificates=self.ca)


class Reloading:
    """The files' certificates at each new connection. A pair that does not belong together is not taken: a key may be
    replaced a moment after its certificate."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self.initial = files.read()
        self._state: tuple[object, ...] = ()

    def configuration(self) -> grpc.ServerCertificateConfiguration | None:
        """None while nothing has changed; called by gRPC's threads."""
        with self._lock:
            try:
                state = self._files.state()
                if state == self._state:
                    return None
                certificates = self._files.read()
            except (OSError, SettingsInvalid) as error:
                log.warning("tls.reload.refused", error=str(error))
                return None
            self._state = state
        log.info("tls.reloaded")
        return certificates.server_configuration()


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Raises SettingsInvalid."""
    reloading = Reloading(files)
    return grpc.dynamic_ssl_server_credentials(
        reloading.initial.server_configuration(),
        reloading.configuration,  # type: ignore[arg-type]  # None is for no change, says gRPC itself
        require_client_authentication=files.ca is not None,
    )


def channel_credentials(files: CertificateFiles) -> grpc.ChannelCredentials:
    """Raises SettingsInvalid."""
    read = files.read()
    return grpc.ssl_channel_credentials(read.ca, read.key, read.certificate)


def certificate_files(
    setting: str, certificate: Path | None, key: Path | None, ca: Path | None, *, ca_needed: bool = False
) -> CertificateFiles | None:
    """None when nothing is set. Raises SettingsInvalid that names what is missing."""
    if certificate is None and key is None and ca is None:
        return None
    given = {"CERTIFICATE": certificate, "KEY": key} | ({"CA": ca} if ca_needed else {})
    missing = next((what for what, path in given.items() if path is None), None)
    if certificate is None or key is None or missing:
        raise SettingsInvalid(f"The settings are wrong.\nMORNINGAI_{setting}_{missing}_FILE: is missing for TLS.")
    return CertificateFiles(certificate, key, ca, setting)


def internal_files(settings: ServiceSettings) -> CertificateFiles | None:
    """Of mutual TLS between the services."""
    return certificate_files(
        "INTERNAL",
        settings.internal_certificate_file,
        settings.internal_key_file,
        settings.internal_ca_file,
        ca_needed=True,
    )


def check_plaintext(address: str, *, allowed: bool) -> None:
    """Raises SettingsInvalid for an address that other machines can reach."""
    if not allowed and not is_local(address):
        raise SettingsInvalid(
            f"The settings are wrong.\nMORNINGAI_ALLOW_PLAINTEXT: {address} would be without TLS, and is not on this"
            " machine alone. Set certificates, or set this to true where the network is trusted."
        )


def is_local(address: str) -> bool:
    return LOCAL.fullmatch(address) is not None
