"""Which network addresses may be connected to on behalf of someone else."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

_IPV6_UNICAST = ip_network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")

# Beyond what the standard library calls not global (its tables differ between patch versions).
_DENIED = (
    ip_network("0.0.0.0/8"),
    ip_network("100.64.0.0/10"),  # carrier-grade NAT, RFC 6598; some clouds' metadata service
    ip_network("168.63.129.16/32"),  # Azure's host services, reachable from every virtual machine there
    ip_network("192.0.0.0/24"),  # protocol assignments, RFC 6890; Oracle's metadata service
    ip_network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
    ip_network("198.18.0.0/15"),  # benchmarks, RFC 2544
    ip_network("240.0.0.0/4"),
    ip_network("2001::/23"),  # protocol assignments with Teredo, which embeds IPv4 addresses
    ip_network("2001:db8::/32"),
    ip_network("2002::/16"),  # 6to4, which embeds IPv4 addresses; no longer in use (RFC 7526)
    ip_network("3fff::/20"),  # documentation, RFC 9637
)


def is_public(address: str) -> bool:
    """Whether an address is one on the public internet: unicast, global, nobody's inside, no metadata service.

    An IPv4 address in IPv6 clothes (mapped, or behind the well-known NAT64 prefix) is judged as what it is.

    Args:
        address: An IPv4 or IPv6 address as text; anything else is not public.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id is not None:
            return False
        embedded = parsed.ipv4_mapped or (IPv4Address(int(parsed) & 0xFFFFFFFF) if parsed in _NAT64 else None)
        if embedded is None and parsed not in _IPV6_UNICAST:
            return False
        parsed = embedded or parsed
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        return False
    return not any(parsed.version == network.version and parsed in network for network in _DENIED)
