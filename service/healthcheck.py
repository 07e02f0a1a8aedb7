"""`python -m service.healthcheck`: tells a container engine whether the service beside it is ready.

It looks on loopback at the port of the environment (`FASHION_PORT`), over TLS if there is a
certificate (`FASHION_TLS_CERTIFICATE`), and imports next to nothing, for it is started every few
seconds.
"""

import http.client
import os
import ssl
import sys

DEFAULT_PORT = "8000"
TIMEOUT_SECONDS = 2


def main() -> int:
    """Return 0 if `/readyz` answers 200; else print why not and return 1."""
    port = int(os.environ.get("FASHION_PORT", DEFAULT_PORT))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    if os.environ.get("FASHION_TLS_CERTIFICATE"):
        # The certificate is for the name that clients use, and nothing secret is said here.
        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=context
        )
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
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
