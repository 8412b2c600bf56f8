"""Parsing what arguments point at: URLs, mail addresses and paths, never globbed as raw text.

Where two parsers might read a text differently, nothing is guessed: it is `Undecidable`.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Undecidable", "host_of", "host_pattern", "is_public", "mail_domain", "path_of"]


class Undecidable(Exception):
    """A condition could not be evaluated for this action; the policy fails closed."""


_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([A-Za-z0-9.-]{1,253})")


def host_of(value: Any) -> str:
    """The host of a plain http or https URL: a lower-case ASCII name, or an IP address in its usual form.

    Raises:
        Undecidable: It is none, has a user part, or parsers disagree on it (RFC 3986 §3.2 against the WHATWG's).
    """
    if not isinstance(value, str):
        raise Undecidable(f"{type(value).__name__} is not a URL")
    if any(character in value for character in "\\ ") or not value.isprintable():
        raise Undecidable("the URL has characters that parsers read differently")
    try:
        parts = urlsplit(value)
        host, user, _ = parts.hostname, parts.username, parts.port
    except ValueError as error:
        raise Undecidable(f"the URL does not parse: {error}") from None
    if parts.scheme not in ("http", "https") or not host or user is not None:
        raise Undecidable("the URL is not a plain http or https address")
    if ":" in host:
        return _ip(host)
    return _name(host)


def _name(host: str) -> str:
    host = host.lower().removesuffix(".")
    if not _NAME.fullmatch(host):
        # Percent-encoded and non-ASCII hosts: IDNA 2003, IDNA 2008 and UTS 46 map them to different names.
        raise Undecidable(f"the host {host!r} is not a plain ASCII name")
    if _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        return _ip(host)  # also refuses 127.1, 0x7f.1 and 2130706433, which some resolvers take for 127.0.0.1
    return host


def _ip(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise Undecidable(f"the host {host!r} is an address in an unusual form") from None


def is_public(address: str) -> bool:
    """Whether an IP address is of the open Internet: not of this machine, a private network, a link (where clouds keep
    the credentials of machines), a group, or one that carries another address, which may be any.

    Raises:
        ValueError: It is no IP address.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _TRANSLATED or parsed.sixtofour or parsed.teredo:
            return False
        parsed = parsed.ipv4_mapped or parsed
    return parsed.is_global and not parsed.is_multicast


def host_pattern(operand: str) -> str:
    """A host as rules name it, "example.org" or "*.example.org", in the form that `host_of` gives.

    Raises:
        TypeError: It is neither, and would match nothing.
    """
    below, name = ("*.", operand[2:]) if operand.startswith("*.") else ("", operand)
    try:
        return below + (_ip(name.strip("[]")) if ":" in name else _name(name))
    except Undecidable:
        raise TypeError('host names such as "example.org" or "*.example.org" (no URL, no other "*")') from None


def mail_domain(value: Any) -> str:
    """The domain of one bare mail address, lower case.

    Raises:
        Undecidable: It is not exactly one address of the plain form (no display name, quotes or comments).
    """
    found = _MAIL.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise Undecidable("the argument is not one plain mail address")
    return _name(found[1])


def path_of(value: Any) -> str:
    """An absolute path with "." and ".." resolved as text; links are not followed, that is the tool's to refuse.

    Raises:
        Undecidable: It is relative, a URL, or has characters that some systems read as separators or ends.
    """
    if not isinstance(value, str) or not value.startswith("/"):
        raise Undecidable("the argument is not an absolute path")
    if "\\" in value or not value.isprintable():
        raise Undecidable("the path has characters that systems read differently")
    return "/" + posixpath.normpath(value).lstrip("/")
