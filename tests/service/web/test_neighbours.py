"""Pages of other sites, where nobody is asked for a key."""

from pathlib import Path

import anyio
import httpx
import pytest

from service.app import create_app
from service.settings import Settings

OURS = "http://localhost:8000"


def ask(settings: Settings, method: str, url: str, **headers: str) -> httpx.Response:
    """An address that does not exist answers 404 to whoever is let in."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings))
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.request(method, f"{url}/nowhere", headers=fields)

    return anyio.run(send)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path)


@pytest.mark.parametrize(
    "url",
    [OURS, "http://127.0.0.1:8000", "http://127.9.9.9", "http://[::1]:8000", "http://LOCALHOST"],
)
def test_this_machine_is_called_by_its_own_names(settings: Settings, url: str) -> None:
    assert ask(settings, "GET", url).status_code == 404
    assert ask(settings, "POST", url).status_code == 404


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example",
     "10.0.0.1", "[::2]", "", "local host", "[::1"],
)  # fmt: skip
def test_name_that_somebody_pointed_here_is_refused(settings: Settings, host: str) -> None:
    answer = ask(settings, "GET", OURS, Host=host)
    assert answer.status_code == 421
    assert answer.json()["type"] == "/problems/misdirected"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_public_name_is_the_operators_to_say(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, public_url="https://wsi.example/heatmaps")
    assert ask(settings, "GET", OURS, Host="wsi.example").status_code == 404
    assert ask(settings, "POST", OURS, Origin="https://wsi.example").status_code == 404
    assert ask(settings, "POST", OURS, Origin="http://wsi.example").status_code == 403


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
@pytest.mark.parametrize(
    "sent",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://[::"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example", "Sec_Fetch_Site": "same-origin"},
    ],
)
def test_page_of_another_site_writes_nothing(
    settings: Settings, method: str, sent: dict[str, str]
) -> None:
    answer = ask(settings, method, OURS, **sent)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/not-allowed")


@pytest.mark.parametrize(
    "sent",
    [
        {},  # curl
        {"Origin": OURS, "Sec_Fetch_Site": "same-origin"},  # the viewer
        {"Origin": OURS},
        {"Sec_Fetch_Site": "none"},  # typed into the address bar
    ],
)
def test_own_page_and_plain_clients_write(settings: Settings, sent: dict[str, str]) -> None:
    assert ask(settings, "POST", OURS, **sent).status_code == 404


def test_reading_is_left_to_cors(settings: Settings) -> None:
    answer = ask(settings, "GET", OURS, Origin="https://evil.example", Sec_Fetch_Site="cross-site")
    assert answer.status_code == 404
    assert "access-control-allow-origin" not in answer.headers


def test_page_that_the_operator_names_may_write_and_all_may_not(tmp_path: Path) -> None:
    named = Settings(data=tmp_path, cors_origins=("https://viewer.example",))
    everybody = Settings(data=tmp_path, cors_origins=("*",))
    assert ask(named, "POST", OURS, Origin="https://viewer.example").status_code == 404
    assert ask(everybody, "POST", OURS, Origin="https://viewer.example").status_code == 403


def test_with_keys_a_page_has_nothing_to_ride_on(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, auth=("keys",))
    answer = ask(settings, "POST", "http://wsi.example", Origin="https://viewer.example")
    assert answer.status_code == 404
