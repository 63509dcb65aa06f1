"""CloudFront, WAF and the load balancer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from settings import types, url_paths
from settings.field_metadata import Protective, Saving, given, less, order
from settings.sections.base import Section


class Headers(Section):
    """Security headers on every response; an empty string omits a header. Source: manual "Security Headers"."""

    content_security_policy: Annotated[types.HeaderValue, Protective(given, opt_out="opt_out_reason")] = Field(
        "default-src 'self'; script-src 'self' 'unsafe-eval' 'unsafe-inline'; style-src 'self' 'unsafe-inline' "
        "https://fonts.googleapis.com; font-src 'self' https://fonts.gstatic.com; img-src 'self' data: https: blob:; "
        "connect-src 'self' https: wss:; frame-ancestors 'none'",
        description="The manual's policy without its Vercel host.",
    )
    frame_options: Annotated[Literal["DENY", "SAMEORIGIN"], Protective(order("SAMEORIGIN", "DENY"))] = Field(
        "DENY", description="X-Frame-Options."
    )
    content_type_nosniff: Annotated[bool, Protective(opt_out="opt_out_reason")] = Field(
        True, description="X-Content-Type-Options: nosniff."
    )
    xss_protection: Annotated[bool, Protective(opt_out="opt_out_reason")] = Field(True, description="X-XSS-Protection: 1; mode=block.")
    hsts_max_age_seconds: Annotated[int, Protective(opt_out="opt_out_reason")] = Field(
        31_536_000, ge=0, le=63_072_000, description="Strict-Transport-Security; 0 omits it."
    )
    hsts_include_subdomains: Annotated[bool, Protective()] = Field(True, description="includeSubDomains.")
    hsts_preload: Annotated[bool, Protective()] = Field(True, description="preload.")
    referrer_policy: Literal["origin-when-cross-origin", "strict-origin-when-cross-origin", "same-origin", "no-referrer"] = Field(
        "origin-when-cross-origin", description="Referrer-Policy."
    )
    permissions_policy: Annotated[types.HeaderValue, Protective(given, opt_out="opt_out_reason")] = Field(
        "camera=(), microphone=(), geolocation=()", description="Permissions-Policy."
    )
    opt_out_reason: types.Reason | None = Field(None, description="Why a header is omitted.")


class PathRule(Section):
    """From one exact path to another."""

    source: url_paths.PlainPath
    destination: url_paths.PlainPath


class Redirect(PathRule):
    """A redirect; it keeps the query string."""

    permanent: bool = True


class Rewrite(PathRule):
    """A rewrite: the origin receives `destination`; users see `source`, whose caching rules apply."""


class RateLimits(Section):
    """Requests per client address in five minutes at the edge. The manual's 100 an hour is the application's limit."""

    site: Annotated[int, Protective(less)] = Field(3000, ge=10, le=2_000_000, description="All paths except static files.")
    api: Annotated[int, Protective(less)] = Field(1000, ge=10, le=2_000_000, description="Paths below /api/.")
    sign_in: Annotated[int, Protective(less)] = Field(100, ge=10, le=2_000_000, description="Paths below /api/auth/, except GET and HEAD.")


class Edge(Section):
    """CloudFront, WAF and the load balancer. Source: manual "Vercel Configuration", "CDN Configuration"."""

    price_class: Literal["100", "200", "All"] = Field("100", description="CloudFront's price class: which locations serve.")
    origin_timeout_seconds: int = Field(30, ge=5, le=120, description="Manual: maxDuration 30.")
    static_max_age_seconds: int = Field(31_536_000, ge=60, le=31_536_000, description="/_next/static/* and /images/* (manual: a year).")
    image_max_age_seconds: int = Field(86_400, ge=60, le=31_536_000, description="Upper bound for /_next/image.")
    static_paths: types.Distinct[url_paths.StaticPath] = Field(
        ("/images/*",), min_length=1, max_length=8, description="Cached like static files, in addition to /_next/static/*."
    )
    upload_paths: types.Distinct[url_paths.PathPrefix] = Field(
        ("/api/upload",), max_length=5, description="Paths that accept large files, with everything below them."
    )
    max_body_mb: Annotated[int, types.one_of(1, 10, 100), Protective(less)] = Field(
        1, description="Requests with a body of this size or more are refused outside upload_paths."
    )
    redirects: types.Entries[Redirect] = Field((Redirect(source="/dashboard/", destination="/dashboard"),), max_length=50)
    rewrites: types.Entries[Rewrite] = Field((), max_length=50, description="Default: none (the manual's would hide a real /api/health).")
    error_max_age_seconds: int = Field(
        5, ge=0, le=5, description="How long the edge caches the page for 502 and 504. The application's own errors are never cached."
    )
    rate_limits: RateLimits = RateLimits()
    all_firewall_rules: Annotated[
        bool,
        Protective(opt_out=True),
        Saving(False, "no separate limits for sign-in, API and large bodies, and no ./carmen firewall commands"),
    ] = Field(True, description="false: only the managed rules and the site's rate limit, USD 6 a month less; no ./carmen firewall.")
    headers: Headers = Headers()
    waf_log_retention_days: Annotated[types.LogRetentionDays, Protective()] = Field(90, description="How long WAF logs are kept.")
    origin_metrics: Annotated[bool, Saving(False, "no measurement of how long CloudFront waits for Carmen")] = Field(
        True, description="CloudFront's eight additional metrics, USD 2.40 a month, such as the origin's latency."
    )

    @property
    def all_static_paths(self) -> tuple[str, ...]:
        """Patterns of all files cached for `static_max_age_seconds`: those of releases, and `static_paths`."""
        return (url_paths.RELEASE_FILES, *self.static_paths)
