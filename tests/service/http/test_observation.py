import httpx
import pytest


def test_a_request_without_an_id_is_given_one_of_its_own(strict_client: httpx.Client) -> None:
    ids = {strict_client.get("/livez").headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


def test_the_id_a_client_sends_comes_back(strict_client: httpx.Client) -> None:
    response = strict_client.get("/nowhere", headers={"X-Request-ID": "order-7.b"})
    assert response.headers["X-Request-ID"] == "order-7.b"
    assert response.json()["error"]["request_id"] == "order-7.b"


@pytest.mark.parametrize("sent", ["", "has space", 'quo"te', "x" * 129])
def test_an_id_that_could_harm_a_log_is_replaced(strict_client: httpx.Client, sent: str) -> None:
    response = strict_client.get("/livez", headers={"X-Request-ID": sent})
    assert response.headers["X-Request-ID"] != sent
