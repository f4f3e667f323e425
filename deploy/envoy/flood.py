"""Keeps one address from flooding the methods that need no token.

Whoever has a token is counted by the services; these methods are the only ones
that strangers can make them work for.
"""

from __future__ import annotations

from deploy.envoy.settings import EdgeSettings
from deploy.envoy.tree import Tree, extension, typed

FLOOD_LIMIT = "envoy.filters.http.local_ratelimit"
MESSAGE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
# Buckets that are kept at once; the one that was not used for longest goes first.
MOST_ADDRESSES = 10_000
# A caller with IPv6 commonly has a whole /64 to choose addresses from.
IPV6_PREFIX = 64
# Envoy wants a bucket for calls that match no descriptor; every call has an address.
BOUNDLESS = {"max_tokens": 2**31, "tokens_per_fill": 2**31, "fill_interval": "1s"}


def flood_limit() -> Tree:
    """The filter; it limits nothing but on routes that say so."""
    return extension(FLOOD_LIMIT, MESSAGE, stat_prefix="flood")


def limited(settings: EdgeSettings) -> Tree:
    """What a route says: each address has a bucket of its own."""
    bucket = {
        "max_tokens": settings.anonymous_burst,
        "tokens_per_fill": settings.anonymous_calls_per_second,
        "fill_interval": "1s",
    }
    of_caller = {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": IPV6_PREFIX}}
    every = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return typed(
        MESSAGE,
        stat_prefix="flood",
        token_bucket=BOUNDLESS,
        filter_enabled=every,
        filter_enforced=every,
        rate_limits=[{"actions": [of_caller]}],
        descriptors=[{"entries": [{"key": "masked_remote_address"}], "token_bucket": bucket}],
        max_dynamic_descriptors=MOST_ADDRESSES,
        always_consume_default_token_bucket=False,
        rate_limited_as_resource_exhausted=True,
    )
