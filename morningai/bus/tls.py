"""TLS to the bus: from the first byte, so that nobody between can talk a client into sending its password in plain."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from morningai.rpc.tls import check_plaintext
from morningai.settings import ServiceSettings, SettingsInvalid


def bus_context(settings: ServiceSettings) -> ssl.SSLContext | None:
    """None for a plain connection. Raises SettingsInvalid for one that would leave this machine without a word."""
    addresses = [urlsplit(url) for url in settings.nats_urls]
    if all(address.scheme == "tls" for address in addresses):
        return _context(settings)
    if settings.nats_ca_file is not None or any(address.scheme == "tls" for address in addresses):
        raise SettingsInvalid(
            "The settings are wrong.\nMORNINGAI_NATS_URL: write tls://host:port for each, or no authority."
        )
    for address in addresses:
        check_plaintext(address.netloc, allowed=settings.allow_plaintext)
    return None


def _context(settings: ServiceSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.nats_ca_file)
    except OSError as error:  # SSLError is one
        raise SettingsInvalid(
            f"The settings are wrong.\nMORNINGAI_NATS_CA_FILE: {settings.nats_ca_file} holds no certificate."
        ) from error
