"""Proxies and certificate authorities of the environment, by real sockets; and addresses fit to be printed."""

from __future__ import annotations

import doctest
import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny_model import picture, prompt
from visor_core import network
from visor_core.config import DocumentsConfig, ServerConfig
from visor_core.documents.patience import Patience
from visor_core.documents.remote import fetch
from visor_core.errors import ConfigError, DocumentError, PolicyError
from visor_core.network import has_secret, proxy_of, trusted, without_secrets
from visor_core.policies.base import Sampling
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy

PROXIED = {
    "HTTP_PROXY": "http://proxy:3128",
    "HTTPS_PROXY": "proxy:3129",
    "NO_PROXY": "inside.example, 10.0.0.0/8,[fd00::/8],a.example:8443",
}
REPLY = b'{"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}'
ONCE = ServerConfig(retries=0, timeout_seconds=5)


@pytest.mark.parametrize(
    ("address", "proxy"),
    [
        ("http://models.example/v1", "http://proxy:3128"),
        ("https://models.example/v1", "http://proxy:3129"),
        ("https://inside.example/v1", None),
        ("https://gpu.inside.example:8000/v1", None),
        ("https://notinside.example/v1", "http://proxy:3129"),
        ("http://10.1.2.3:8000/v1", None),
        ("http://11.1.2.3:8000/v1", "http://proxy:3128"),
        ("http://[fd00::5]:8000/v1", None),
        ("https://a.example:8443/v1", None),
        ("https://a.example/v1", "http://proxy:3129"),
        ("http://127.0.0.1:8000/v1", None),
        ("http://127.8.9.1:8000/v1", None),
        ("http://[::1]:8000/v1", None),
        ("http://[::ffff:127.0.0.1]:8000/v1", None),
        ("http://LocalHost:8000/v1", None),
        ("http://localhost.:8000/v1", None),
    ],
)
def test_the_environment_chooses_the_way(address: str, proxy: str | None) -> None:
    assert proxy_of(address, PROXIED) == proxy


def test_the_other_variables_of_a_proxy() -> None:
    assert proxy_of("https://a.example", {"ALL_PROXY": "http://p:1"}) == "http://p:1"
    assert (
        proxy_of("https://a.example", {"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}) == "http://low:1"
    )
    assert proxy_of("https://a.example", {"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}) is None
    assert proxy_of("http://a.example", {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}) is None
    with pytest.raises(ConfigError, match="HTTPS_PROXY holds no address of a proxy") as refused:
        proxy_of("https://a.example", {"HTTPS_PROXY": "ldap://me:canary@p:1"})
    assert "canary" not in str(refused.value)


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_environment_breaks_the_choice(address: str, listed: str) -> None:
    if "[" not in address and "]" not in address:
        proxy_of(f"http://host.example/{address}", {"HTTP_PROXY": "http://p:1", "NO_PROXY": listed})


def test_addresses_are_shown_without_their_secrets() -> None:
    assert without_secrets("http://host:8000/v1") == "http://host:8000/v1"
    shown = without_secrets("https://me:canary@host:8000/v1?api-version=2&key=canary#canary")
    assert shown == "https://…@host:8000/v1?api-version=2&key=…"
    assert without_secrets("http://canary@[") == "http://…"
    assert not any(map(has_secret, ("http://h/v1", "http://h/v1?api-version=2")))
    assert all(map(has_secret, ("http://a@h/v1", "http://h/v1?k=s", "http://[")))


class _Asked(http.server.BaseHTTPRequestHandler):
    """Answers as a chat server and as a file server, and notes the lines it was asked with."""

    asked: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer(REPLY)

    def do_GET(self) -> None:
        self._answer(b"%PDF")

    def _answer(self, body: bytes) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[str]]]:
    """A server's port and what it was asked."""
    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Asked,), {"asked": asked}))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def said(address: str) -> str:
    policy = OpenAICompatiblePolicy(address, "big", picture, server=ONCE)
    return policy.complete_batch([prompt()], [Sampling()])[0].text


def test_an_endpoint_is_reached_by_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as (port, asked):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        assert said("http://models.invalid:8000/v1") == "hello"
        assert asked == ["http://models.invalid:8000/v1/chat/completions"]
        monkeypatch.setenv("NO_PROXY", "models.invalid")
        with pytest.raises(PolicyError, match="ConnectError"):
            said("http://models.invalid:8000/v1")


def test_this_machine_is_never_asked_by_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serving() as (port, asked):
        assert said(f"http://127.0.0.1:{port}/v1") == said(f"http://localhost:{port}/v1") == "hello"
        assert asked == ["/v1/chat/completions"] * 2


def test_documents_come_by_the_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serving() as (port, asked):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        with fetch("http://files.invalid/a.pdf", DocumentsConfig(), tmp_path, Patience()) as path:
            assert path.read_bytes() == b"%PDF"
        assert asked == ["http://files.invalid/a.pdf"]
        # What this machine knows as private stays refused.
        for host in ("10.0.0.7", "169.254.169.254", "127.0.0.1"):
            with (
                pytest.raises(DocumentError, match="private or local address"),
                fetch(f"http://{host}/a.pdf", DocumentsConfig(), tmp_path, Patience()),
            ):
                pass
        assert len(asked) == 1


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A private authority's certificate in PEM form, and a server context for 127.0.0.1 that it vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a private authority")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "authority.pem", folder / "key.pem"
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return certificate, context


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_private_authority_is_trusted(variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    certificate, context = authority(tmp_path)
    allowed = DocumentsConfig(allow_private_addresses=True)
    with serving(context) as (port, _):
        address = f"https://127.0.0.1:{port}"
        with pytest.raises(PolicyError, match="CERTIFICATE_VERIFY_FAILED"):
            said(f"{address}/v1")
        monkeypatch.setenv(variable, str(certificate))
        assert said(f"{address}/v1") == "hello"
        with fetch(f"{address}/a.pdf", allowed, tmp_path, Patience()) as path:
            assert path.read_bytes() == b"%PDF"


def test_certificates_that_are_missing_or_none_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SSL_CERT_FILE names .*gone.pem, which is not there"):
        trusted({"SSL_CERT_FILE": str(tmp_path / "gone.pem")})
    (tmp_path / "words.pem").write_text("no certificate", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no readable certificates"):
        trusted({"REQUESTS_CA_BUNDLE": str(tmp_path / "words.pem")})
    assert trusted({}).verify_mode == ssl.CERT_REQUIRED


def test_a_login_is_hidden_where_the_scheme_was_forgotten() -> None:
    shown = without_secrets("me:s3cret@models.example:8443/v1?key=s3")
    assert shown == "…@models.example:8443/v1?key=…"


def test_the_examples_hold() -> None:
    assert doctest.testmod(network).failed == 0
