"""A body is refused by what it announces, before it is sent."""

import socket
import time

import httpx


def test_a_body_announced_too_large_is_refused_before_it_is_read(
    strict_client: httpx.Client,
) -> None:
    url = strict_client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
        )
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer


def test_a_client_that_hangs_up_in_the_middle_harms_nobody(
    strict_client: httpx.Client, boot_png: bytes
) -> None:
    url = strict_client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf"
        )
        time.sleep(0.05)
    assert strict_client.post("/predict", content=boot_png).status_code == 200
