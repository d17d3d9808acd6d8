"""How this machine reaches others: the proxies and certificate authorities that its environment names.

`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` (either case) choose the way, `SSL_CERT_FILE`,
`REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` and `SSL_CERT_DIR` whom to trust. What is on this machine never goes by proxy.
Addresses that carry a login or a key are made fit to print here. Left out: proxies of the desktop, PAC files, `netrc`.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from visor_core.errors import ConfigError

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
"""Of version 6, what is given out to machines on the internet (IANA's registry)."""
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR")
# Parameters of an address that are no secret: hosted servers tell their versions apart by this one.
_OPEN_PARAMETERS = frozenset({"api-version"})


def client_options(address: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Arguments of an httpx client that reaches `address` as the environment (`os.environ` if none) asks.

    Raises:
        ConfigError: naming the variable that holds no usable proxy or certificates.
    """
    environment = os.environ if environment is None else environment
    proxy = proxy_of(address, environment)
    if proxy is not None and proxy.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigError(
            "the environment names a SOCKS proxy, which needs the package socksio: install it, or name an http proxy "
            "in HTTPS_PROXY"
        )
    # Not left to httpx, which knows no networks in NO_PROXY and asks proxies for this machine itself.
    return {"proxy": proxy, "verify": trusted(environment), "trust_env": False}


def proxy_of(address: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The proxy by which `address` is reached, or None for the straight way.

    Raises:
        ConfigError: naming the variable that holds no address of a proxy (never its value, which may hold a password).
    """
    environment = os.environ if environment is None else environment
    parts = urlsplit(address)
    host = (parts.hostname or "").rstrip(".").lower()
    if is_loopback(host) or _passed_by(host, parts.port, _variable(environment, "no_proxy")[1]):
        return None
    name, value = _variable(environment, f"{parts.scheme}_proxy")
    if not value:
        name, value = _variable(environment, "all_proxy")
    if not value:
        return None
    value = value if "://" in value else f"http://{value}"
    try:
        proxy = urlsplit(value)
        usable = proxy.scheme in _PROXY_SCHEMES and bool(proxy.hostname) and proxy.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"the variable {name} holds no address of a proxy: write it as http://host:port, or unset it")
    return value


def is_loopback(host: str) -> bool:
    """Whether a host, by name or number, is this machine itself."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    number = _number(host)
    return number is not None and (number.is_loopback or number.is_unspecified)


def is_public(host: str) -> bool:
    """Whether a number is an address of one machine on the internet.

    A rule of what is allowed: global and no multicast, in version 6 within 2000::/3. An address of version 4 in the
    clothes of version 6 (mapped, by NAT64's well-known prefix, 6to4) is judged as what it leads to. A name is none.

    >>> [is_public(host) for host in ("8.8.8.8", "10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "::8.8.8.8", "fec0::1")]
    [True, False, False, False, False, False]
    """
    number = _number(host)
    if isinstance(number, ipaddress.IPv6Address):
        if number in _NAT64:
            number = ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
        elif number.sixtofour is not None:
            number = number.sixtofour
        elif number not in _UNICAST:
            return False
    return number is not None and number.is_global and not number.is_multicast


def trusted(environment: Mapping[str, str] | None = None) -> ssl.SSLContext:
    """Whom to trust: the authorities that the environment names, or else the usual public ones.

    Raises:
        ConfigError: naming the variable whose file or folder is missing or holds no certificate.
    """
    import httpx

    environment = os.environ if environment is None else environment
    name = next((name for name in _BUNDLES if environment.get(name)), None)
    if name is None:
        return httpx.create_ssl_context(trust_env=False)
    path = Path(environment[name]).expanduser()
    if not path.exists():
        raise ConfigError(f"the variable {name} names {path}, which is not there: correct it, or unset it")
    try:
        if path.is_dir():
            return ssl.create_default_context(capath=str(path))
        return ssl.create_default_context(cafile=str(path))
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"the variable {name} names {path}, which holds no readable certificates: give a file in PEM form"
        ) from error


def has_secret(address: str) -> bool:
    """Whether an address carries a login or a parameter that may be a key; true of one that cannot be parsed."""
    try:
        parts = urlsplit(address)
        parameters = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return True
    return "@" in parts.netloc or any(name.lower() not in _OPEN_PARAMETERS for name, _ in parameters)


def without_secrets(address: str) -> str:
    """An address fit to be printed, stored and compared: no login, and no value of a parameter that may be a key.

    >>> without_secrets("https://me:word@models.example:8443/v1?api-version=2&key=s3")
    'https://…@models.example:8443/v1?api-version=2&key=…'
    """
    if "://" not in address and "@" in address:  # a forgotten scheme: the login is not where it is looked for
        return f"…@{without_secrets('x://' + address).rpartition('@')[2]}"
    try:
        parts = urlsplit(address)
        parameters = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return f"{address.partition('://')[0]}://…"
    netloc = f"…@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc
    query = "&".join(f"{k}={v if k.lower() in _OPEN_PARAMETERS else '…'}" for k, v in parameters)
    return parts._replace(netloc=netloc, query=query, fragment="").geturl()


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """A variable's name as it is set and its value; lower case wins, as everywhere."""
    if environment.get(name):
        return name, environment[name].strip()
    upper = name.upper()
    # A web server hands a visitor's `Proxy:` header to its scripts under this name.
    if upper == "HTTP_PROXY" and "REQUEST_METHOD" in environment:
        return upper, ""
    return upper, environment.get(upper, "").strip()


def _passed_by(host: str, port: int | None, listed: str) -> bool:
    """Whether `NO_PROXY` lists a host: by name or domain, number or network, with or without a port; `*` is all."""
    number = _number(host)
    for entry in re.split(r"[,\s]+", listed.lower()):
        name, wanted = _entry(entry)
        if not name or (wanted is not None and wanted != port):
            continue
        if name == "*":
            return True
        if number is None:
            domain = name.removeprefix("*").lstrip(".")
            if domain and (host == domain or host.endswith(f".{domain}")):
                return True
            continue
        try:
            if number in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:  # a name, where the host is a number
            continue
    return False


def _entry(entry: str) -> tuple[str, int | None]:
    """One entry of `NO_PROXY` as a host and the port it is limited to."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(\d+))?", entry)
    if bracketed:
        return bracketed[1], int(bracketed[2]) if bracketed[2] else None
    head, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and ":" not in head:
        return head, int(port)
    return entry, None


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The host as an address of the internet protocol, one of version 4 in the clothes of version 6 undressed."""
    try:
        number = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(number, "ipv4_mapped", None) or number
