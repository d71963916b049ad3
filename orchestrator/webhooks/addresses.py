"""Where webhooks may go: to the public internet, unless the operator of the yard allows more.

An address is judged when a connection to it is made (`sending.py`), so neither a name's changing answers nor
a redirect leads anywhere else. What is said about a URL when an endpoint is made is a courtesy.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from orchestrator.errors import Invalid

URL_CHARACTERS_MAX = 2048

# From IANA's registries of special-purpose addresses; each with the word that a refusal says.
REFUSED_V4 = {
    "0.0.0.0/8": "unspecified",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared (carrier-grade NAT)",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "a cloud's metadata service",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved",
    "192.0.2.0/24": "reserved for documentation",
    "192.88.99.0/24": "reserved",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "reserved for benchmarks",
    "198.51.100.0/24": "reserved for documentation",
    "203.0.113.0/24": "reserved for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
REFUSED_V6 = {
    "2001::/23": "reserved",  # Teredo among them, which carries an IPv4 address
    "2001:db8::/32": "reserved for documentation",
    "2002::/16": "reserved (6to4)",
    "3fff::/20": "reserved for documentation",
}
NAT64 = IPv6Network("64:ff9b::/96")
PUBLIC_V6 = IPv6Network("2000::/3")  # all that is given out; the rest is loopback, private, multicast, …

_V4 = {IPv4Network(network): word for network, word in REFUSED_V4.items()}
_V6 = {IPv6Network(network): word for network, word in REFUSED_V6.items()}


def refusal(address: str) -> str | None:
    """What kind of address this is, where webhooks must not go to it. `address` is what a socket connects
    to; text that is no address is refused, too."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "no IP address"
    if isinstance(parsed, IPv6Address):
        parsed = _within(parsed) or parsed
    if isinstance(parsed, IPv4Address):
        return next((word for network, word in _V4.items() if parsed in network), None)
    if parsed not in PUBLIC_V6:
        return _said_of(parsed)
    return next((word for network, word in _V6.items() if parsed in network), None)


def checked_url(url: str, *, private_allowed: bool) -> str:
    """The URL, if a webhook may be sent to it as far as it tells by itself. Raises Invalid."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _invalid(f"'{url[:100]}' is not a URL.") from None
    if len(url) > URL_CHARACTERS_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise _invalid(
            f"A URL has at most {URL_CHARACTERS_MAX:,} characters of printable ASCII, without spaces; write "
            "others in percent-encoding."
        )
    schemes = ("https", "http") if private_allowed else ("https",)
    if parts.scheme not in schemes or not host:
        allowed = " or ".join(f"{scheme}://" for scheme in schemes)
        raise _invalid(
            f"Expected a URL that begins with {allowed} and names a host, found '{url[:100]}'."
            + ("" if private_allowed else f" {LIFTED_BY}")
        )
    if "@" in parts.netloc or parts.fragment:
        raise _invalid("A webhook's URL carries neither a user, nor a password, nor a fragment (#…).")
    word = None if private_allowed else _obviously(host)
    if word is not None:
        raise _invalid(f"Webhooks go to public addresses only; the host of this URL is {word}. {LIFTED_BY}")
    return url


LIFTED_BY = "The operator of the yard can allow others with the setting YARD_WEBHOOK_PRIVATE_ADDRESSES=true."


def _within(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a connection to this one ends at."""
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


def _said_of(address: IPv6Address) -> str:
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    return "unspecified" if address.is_unspecified else "private" if address.is_private else "reserved"


def _obviously(host: str) -> str | None:
    """What a host is by its name alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    try:
        ip_address(host)
    except ValueError:
        return None  # a name: it is looked up, and judged, with each attempt
    return refusal(host)


def _invalid(message: str) -> Invalid:
    return Invalid(message, param="url")
