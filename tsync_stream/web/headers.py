"""The headers of every answer of the dashboard.

Invariant: a browser loads nothing from elsewhere, runs no script but our files, writes no markup from a text, and lets
no other site frame, open or read us. What we show never leaves in the name of a page that we link to.
"""

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)

_SECURITY = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def answer_headers(cache_control: str, **more: str) -> dict[str, str]:
    """The headers of an answer. `cache_control` says what a browser may keep."""
    return {**_SECURITY, "Cache-Control": cache_control, **more}
