"""Addresses of servers: what may be written as one, where secrets may be sent, and how one is shown."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

__all__ = [
    "carries_secrets",
    "find_fault",
    "is_inside",
    "is_loopback",
    "is_metadata",
    "is_private_way",
    "origin",
    "show_url",
]

_METADATA = frozenset(
    ("metadata", "metadata.google.internal", "metadata.goog", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")
)
_SECRET_HEADERS = ("authorization", "cookie", "token", "key", "secret", "password")


def find_fault(url: str) -> str | None:
    """Why `url` is no address of a server, or None."""
    try:
        parts = urlsplit(url)
        port_is_odd = parts.port == 0
    except ValueError as error:
        return f"it is no URL: {error}"
    if parts.scheme not in ("http", "https"):
        return "expected a URL that begins with https:// or http://"
    if not parts.hostname or port_is_odd:
        return "it names no host to connect to"
    if is_metadata(parts.hostname):
        return "there clouds keep the credentials of machines; nothing is sent to it"
    if parts.username is not None or parts.password is not None:
        return "it has a user or password in it; send credentials in a header, by ${VAR}, or by OAuth"
    return None


def is_metadata(host: str) -> bool:
    """Whether a cloud tells a machine its secrets there: link-local addresses, and a few others by name."""
    if host.lower().rstrip(".") in _METADATA:
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_link_local or str(mapped or address) in _METADATA


def is_inside(host: str | None) -> bool:
    """Whether the name or address, as it is written, is of this machine or a private network."""
    if is_loopback(host):
        return True
    try:
        return not ipaddress.ip_address((host or "").strip("[]")).is_global
    except ValueError:
        return False


def is_loopback(host: str | None) -> bool:
    """Whether the name or address is this machine's own."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private_way(url: str) -> bool:
    """Whether a secret may be sent there: TLS, or it does not leave this machine (RFC 6750 §5.3, RFC 8252 §8.3)."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname)


def carries_secrets(name: str, value: str) -> bool:
    """Whether a configured header is likely one that others may not see."""
    return "${" in value or any(word in name.lower() for word in _SECRET_HEADERS)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: the same for two URLs of one server."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _default_port(parts)


def show_url(url: str) -> str:
    """The URL without what may be secret in it: user, query, fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _default_port(parts: SplitResult) -> int:
    return 443 if parts.scheme == "https" else 80
