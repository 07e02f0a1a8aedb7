"""`python -m service.healthcheck`: readiness probe for container engines.

It requests `/readyz` on loopback at `FASHION_PORT`, over TLS if `FASHION_TLS_CERTIFICATE` is set.
It imports only the standard library, because it runs every few seconds.
"""

import http.client
import os
import ssl
import sys


def main() -> int:
    """Return 0 if `/readyz` answers 200; else print why not and return 1."""
    host, port = "127.0.0.1", int(os.environ.get("FASHION_PORT", "8000"))
    connection = http.client.HTTPConnection(host, port, timeout=2)
    if os.environ.get("FASHION_TLS_CERTIFICATE"):
        # Loopback does not match the certificate's name, and nothing secret is sent.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=2, context=context)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except OSError as error:
        print(f"not ready: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    if status != http.client.OK:
        print(f"not ready: status {status}", file=sys.stderr)
    return int(status != http.client.OK)


if __name__ == "__main__":
    sys.exit(main())
