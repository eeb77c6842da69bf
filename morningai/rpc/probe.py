"""`python -m morningai.rpc.probe HOST:PORT` ends with 0 while the gRPC service there says it is serving, else with 1.

Containers run it every few seconds. HTTP/2 by hand (RFC 9113, RFC 7541) costs a tenth of loading a gRPC client.
"""

from __future__ import annotations

import os
import socket
import sys

TIMEOUT_SECONDS = 3.0
# The certificate to show where the service asks for one; the first of them that is set.
_OWN_CERTIFICATES = ("MORNINGAI_PROBE", "MORNINGAI_TLS", "MORNINGAI_INTERNAL")
_SETTINGS, _HEADERS, _DATA = 4, 1, 0
_END_HEADERS, _END_STREAM = 4, 1
_PATH = b"/grpc.health.v1.Health/Check"
# POST, http, :path, :authority, content-type, te: indexed names and plain values.
_REQUEST = (
    b"\x83\x86\x04" + bytes([len(_PATH)]) + _PATH + b"\x01\x01h\x0f\x10\x10application/grpc\x00\x02te\x08trailers"
)
_SERVING = b"\x00\x00\x00\x00\x02\x08\x01"


def is_serving(address: str) -> bool:
    own = next((prefix for prefix in _OWN_CERTIFICATES if f"{prefix}_CERTIFICATE_FILE" in os.environ), None)
    return (own is not None and _answers(address, own)) or _answers(address, None)


def _answers(address: str, own: str | None) -> bool:
    received = b""
    try:
        with _connected(address, own) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b""))
            connection.sendall(_frame(_HEADERS, _END_HEADERS, 1, _REQUEST) + _frame(_DATA, _END_STREAM, 1, bytes(5)))
            while _SERVING not in received and (part := connection.recv(4096)):
                received += part
    except OSError:
        return False
    return _SERVING in received


def _connected(address: str, own: str | None) -> socket.socket:
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), TIMEOUT_SECONDS)
    if own is None:
        return connection
    import ssl

    # It asks the service in its own container: whose certificate that is matters to others.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(os.environ[f"{own}_CERTIFICATE_FILE"], os.environ[f"{own}_KEY_FILE"])
    return context.wrap_socket(connection)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


if __name__ == "__main__":
    sys.exit(not is_serving(sys.argv[1]))
