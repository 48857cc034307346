"""Settings from a file, the environment and flags."""

from pathlib import Path
from typing import Any

import pytest

from guardrail.errors import ConfigurationError
from guardrail.service import load_settings

EVERYWHERE = "0.0.0.0"  # noqa: S104  # what is tested

FILE = """
[server]
port = 9000
cors_origins = ["https://app.example"]
[guard]
policy = "strict"
[upstream]
base_url = "http://localhost:11434/v1"
api_key = "os.environ/UPSTREAM_KEY"
[[keys]]
name = "web"
key = "0123456789abcdef"
tenant = "shop"
requests_per_minute = 60
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file."""
    path = tmp_path / "guardrail.toml"
    path.write_text(FILE)
    return path


def test_flags_win_over_the_environment_and_that_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source says what the weaker ones left unsaid."""
    monkeypatch.setenv("UPSTREAM_KEY", "secret")
    assert load_settings(file).server.port == 9000
    monkeypatch.setenv("GUARDRAIL_SERVER__PORT", "9001")
    assert load_settings(file).server.port == 9001
    settings = load_settings(file, server={"port": 9002})
    assert settings.server.port == 9002
    assert settings.server.cors_origins == ("https://app.example",)
    assert settings.guard.policy == "strict"


def test_a_secret_may_name_a_variable_and_is_never_shown(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.environ/NAME` reads the variable; printing the settings shows neither."""
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream")
    settings = load_settings(file)
    assert settings.upstream
    assert settings.upstream.api_key.get_secret_value() == "sk-upstream"
    assert "sk-upstream" not in settings.model_dump_json()
    assert "0123456789abcdef" not in settings.model_dump_json()


def test_a_variable_that_is_not_set_is_an_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream without its key would fail at the first request; it fails now, with the variable's name."""
    monkeypatch.delenv("UPSTREAM_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="UPSTREAM_KEY is not set"):
        load_settings(file)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"server": {"hots": "x"}}, "server.hots: unknown key; valid: .*host"),
        ({"keys": [{"name": "a", "key": "k" * 16, "tenat": "x"}]}, "keys.0.tenat: unknown key; valid: .*tenant"),
        ({"servre": {}}, "servre: unknown key; valid: .*server"),
        ({"server": {"port": 99999}}, "server.port"),
        ({"server": {"host": EVERYWHERE}}, "can be reached from outside"),
        ({"server": {"host": "::"}}, "can be reached from outside"),
        ({"server": {"host": "myhost"}}, "can be reached from outside"),
        ({"keys": [{"name": "a"}]}, "either key or key_sha256"),
        ({"keys": [{"name": "a", "key": "short"}]}, "16 characters"),
        ({"keys": [{"name": "a", "key": "k" * 16}, {"name": "a", "key": "l" * 16}]}, "one name"),
        ({"guard": {"engine": "generative"}}, "belong together"),
    ],
)
def test_what_cannot_work_is_refused_with_the_place_and_the_remedy(given: dict[str, Any], said: str) -> None:
    """One line says what is wrong, and shows no value: it may be a secret."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        load_settings(None, **given)
    assert "k" * 16 not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.3.2.1"])
def test_a_loopback_address_needs_no_keys(host: str) -> None:
    """Trying it out is one command."""
    assert load_settings(None, server={"host": host}).server.host == host


def test_a_public_address_is_served_with_keys_or_when_told_so() -> None:
    """Both ways are said in so many words."""
    load_settings(None, server={"host": EVERYWHERE}, keys=[{"name": "a", "key": "k" * 16}])
    load_settings(None, server={"host": EVERYWHERE, "allow_public": True})


@pytest.mark.parametrize(
    ("text", "says"),
    [("[server\n", "line 1"), ("a = " + "[" * 20_000, "recursion"), ("a = " + "9" * 20_000, "digits")],
    ids=["open", "deep", "long"],
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: str, says: str) -> None:
    """The message leads to the line."""
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=rf"bad\.toml is no TOML: .*{says}"):
        load_settings(path)
