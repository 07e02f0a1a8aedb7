"""HAProxy with the shipped configuration, on loopback."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.service.conftest import unused_port

CONFIGURATIONS = Path(__file__).parent.parent.parent / "deploy/haproxy"


@contextmanager
def proxied(
    addresses: list[str], replica_port: int, folder: Path, certificate: Path | None = None
) -> Iterator[str]:
    """Run HAProxy in front of these replicas, which it finds through a DNS server; yield its URL.

    With a certificate, for localhost, this is the URL of its TLS port.
    """
    port, tls_port = unused_port(), unused_port()
    with dns_server(addresses) as dns_port:
        configuration = (CONFIGURATIONS / "haproxy.cfg").read_text()
        if certificate is not None:
            configuration += (CONFIGURATIONS / "tls.cfg").read_text()
            configuration = configuration.replace("/run/secrets/proxy.pem", str(certificate))
            configuration = configuration.replace("bind :8443", f"bind 127.0.0.1:{tls_port}")
        for name, here in {
            "127.0.0.11:53": f"127.0.0.1:{dns_port}",
            "bind :8000": f"bind 127.0.0.1:{port}",
            "service:8000": f"service:{replica_port}",
        }.items():
            assert configuration.count(name) == 1
            configuration = configuration.replace(name, here)
        (folder / "haproxy.cfg").write_text(configuration)
        with (folder / "haproxy.log").open("w") as log:
            process = subprocess.Popen(
                ["haproxy", "-db", "-f", folder / "haproxy.cfg"], stdout=log, stderr=log
            )
        try:
            yield f"https://localhost:{tls_port}" if certificate else f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


@contextmanager
def dns_server(addresses: list[str]) -> Iterator[int]:
    """Answer every query with these A records, as Docker's DNS does for a scaled service."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            query, client = server.recvfrom(512)
            if not query:
                return
            question = query[12 : query.index(0, 12) + 5]
            header = query[:2] + bytes([0x81, 0x80, 0, 1, 0, len(addresses), 0, 0, 0, 0])
            records = b"".join(
                bytes([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]) + socket.inet_aton(address)
                for address in addresses
            )
            server.sendto(header + question + records, client)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.sendto(b"", server.getsockname())
        thread.join()
        server.close()
