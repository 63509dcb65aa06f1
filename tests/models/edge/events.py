"""Viewer requests and the viewer function's result for each.

`expected` is a status and the Location (`308 /dashboard?a=1`), the path of the origin request (`→ /new`), its Accept header
(`accept image/webp`), removed headers (`without x-forwarded-host`), or empty for an unchanged request.
"""

from __future__ import annotations

from dataclasses import dataclass, field

AVIF = "image/avif,image/webp"
CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
SESSION = "__Secure-next-auth.session-token=eyJhbGciOiJkaXIi; theme=dark; theme=light; empty="


@dataclass(frozen=True)
class Row:
    target: str
    expected: str = ""
    method: str = "GET"
    headers: dict[str, str | list[str]] = field(default_factory=dict)
    cookie: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.target[:50]!r} {''.join(self.headers)}".strip()


def _image(accept: str | list[str] | None, expected: str) -> Row:
    return Row("/_next/image?url=%2Fimages%2Fa.png&w=640&q=75", f"accept {expected}", headers={} if accept is None else {"accept": accept})


# Production as environments/prod.toml has it: one redirect, /dashboard/ → /dashboard, and no rewrite.
PRODUCTION = [
    # A caller's own id is kept if it is one: one line of a log, no more
    Row("/id", "id", headers={"x-request-id": "0123456789abcdef0123456789abcdef"}),
    Row("/id", "id", headers={"x-request-id": "3b241101-e2bb-4255-8caf-4136c566a962"}),
    Row("/id", headers={"x-request-id": 'a","level":"error'}),
    Row("/id", headers={"x-request-id": "short"}),
    Row("/id", headers={"x-request-id": ["0123456789abcdef", "fedcba9876543210"]}),
    # Pages and requests of a Next.js application
    Row("/"),
    Row("/dashboard"),
    Row("/dashboard", headers={"accept": "text/html,application/xhtml+xml"}, cookie=SESSION),
    Row("/dashboard?_rsc=1x2y3", headers={"rsc": "1", "next-router-state-tree": "%5B%22%22%5D", "next-url": "/"}),
    Row("/procurement/purchase-orders/4711?tab=lines&sort=-date"),
    Row("/_next/data/Xk2/dashboard.json?id=1", headers={"x-nextjs-data": "1"}),
    Row("/_next/static/chunks/app/page-3f2a.js", headers={"accept-encoding": "gzip, deflate, br"}),
    Row("/_next/static/media/inter.woff2?dpl=dpl_9", headers={"range": "bytes=0-99"}),
    Row("/images/logo.svg", headers={"if-none-match": '"abc"', "if-modified-since": "Mon, 23 Nov 2026 10:00:00 GMT"}),
    Row("/api/health/live"),
    Row("/api/auth/callback/credentials", method="POST", headers={"content-length": "120", "content-type": "application/json"}),
    Row("/dashboard", method="POST", headers={"next-action": "40a1b2c3", "content-length": "2048"}, cookie=SESSION),
    Row("/api/upload", method="PUT", headers={"transfer-encoding": "chunked", "via": "1.1 proxy"}),
    Row("/favicon.ico"),
    Row("/robots.txt"),
    # The redirect, and what of a query it keeps
    Row("/dashboard/", "308 /dashboard"),
    Row("/dashboard/?a=1", "308 /dashboard?a=1"),
    Row("/dashboard/?a=1&a=2&b=", "308 /dashboard?a=1&a=2&b"),
    Row("/dashboard/?a=1&b=2&a=3", "308 /dashboard?a=1&a=3&b=2"),
    Row("/dashboard/?flag", "308 /dashboard?flag"),
    Row("/dashboard/?=value", "308 /dashboard?=value"),
    Row("/dashboard/?&&", "308 /dashboard?&&"),
    Row("/dashboard/?a=b=c", "308 /dashboard?a=b=c"),
    Row("/dashboard/?next=%2Fadmin%3Fx%3D1%26y%3D2", "308 /dashboard?next=%2Fadmin%3Fx%3D1%26y%3D2"),
    Row("/dashboard/?q=a+b%20c", "308 /dashboard?q=a+b%20c"),
    Row("/dashboard/?q=caf%C3%A9", "308 /dashboard?q=caf%C3%A9"),
    Row("/dashboard/?q=café", "308 /dashboard?q=caf%C3%A9"),
    Row("/dashboard/?日本=語", "308 /dashboard?%E6%97%A5%E6%9C%AC=%E8%AA%9E"),
    Row("/dashboard/?q=😀", "308 /dashboard?q=%F0%9F%98%80"),
    Row("/dashboard/?q=100%", "308 /dashboard?q=100%"),
    Row("/dashboard/?q=%zz", "308 /dashboard?q=%zz"),
    Row("/dashboard/?a[]=1&a[]=2", "308 /dashboard?a[]=1&a[]=2"),
    Row("/dashboard/?a;b=1", "308 /dashboard?a;b=1"),
    Row("/dashboard/?_rsc=1x2y3", "308 /dashboard?_rsc=1x2y3", headers={"rsc": "1"}),
    Row("/dashboard/?__proto__=1&constructor=2&hasOwnProperty=3", "308 /dashboard?__proto__=1&constructor=2&hasOwnProperty=3"),
    Row("/dashboard/?toString&valueOf", "308 /dashboard?toString&valueOf"),
    Row("/dashboard/?length=1&item=x", "308 /dashboard?length=1&item=x"),
    Row("/dashboard/?a=<script>alert(1)</script>", "308 /dashboard?a=<script>alert(1)</script>"),
    Row("/dashboard/?a=//evil.example", "308 /dashboard?a=//evil.example"),
    Row("/dashboard/?//evil.example/..", "308 /dashboard?//evil.example/.."),
    Row("/dashboard/?a=\\\\evil.example", "308 /dashboard?a=\\\\evil.example"),
    Row("/dashboard/", "308 /dashboard", method="HEAD"),
    Row("/dashboard/", "308 /dashboard", method="POST", headers={"content-length": "12", "content-type": "text/plain"}),
    Row("/dashboard/", "308 /dashboard", method="OPTIONS", headers={"origin": "https://evil.example"}),
    Row("/dashboard/", "308 /dashboard", method="DELETE"),
    Row("/dashboard/", "308 /dashboard", cookie=SESSION),
    Row("/dashboard/", "308 /dashboard", headers={"host": "evil.example", "x-forwarded-host": "evil.example"}),
    # Attempts to put a header, a line or another site into the answer
    Row("/dashboard/?a=%0d%0aSet-Cookie:%20s=1", "308 /dashboard?a=%0d%0aSet-Cookie:%20s=1"),
    Row("/dashboard/?a=1\r\nSet-Cookie: s=1", "308 /dashboard?a=1%0D%0ASet-Cookie:%20s=1"),
    Row("/dashboard/?a\r\nX: y=1", "308 /dashboard?a%0D%0AX:%20y=1"),
    Row("/dashboard/?a=1\x00b\x7f", "308 /dashboard?a=1%00b%7F"),
    Row("/dashboard/?a=\t b", "308 /dashboard?a=%09%20b"),
    Row("/dashboard/?a=#fragment", "308 /dashboard?a=%23fragment"),
    Row("/dashboard/?a=\u2028\u00a0", "308 /dashboard?a=%E2%80%A8%C2%A0"),
    Row("/dashboard/?%E5%98%8A%E5%98%8DSet-Cookie:x", "308 /dashboard?%E5%98%8A%E5%98%8DSet-Cookie:x"),
    Row("/dashboard/?嘊嘍Set-Cookie:x=1", "308 /dashboard?%E5%98%8A%E5%98%8DSet-Cookie:x=1"),
    # Paths that look like the redirect and are not: the application answers them
    Row("/dashboard//"),
    Row("//dashboard/"),
    Row("/Dashboard/"),
    Row("/DASHBOARD/"),
    Row("/%64ashboard/"),
    Row("/dashboard%2F"),
    Row("/dashboard/."),
    Row("/dashboard/.."),
    Row("/x/../dashboard/"),
    Row("/x/%2e%2e/dashboard/"),
    Row("/dashboard/;jsessionid=1"),
    Row("/dashboard/%00"),
    Row("/dashboard/index.html"),
    Row("/dashboard\\"),
    Row("//evil.example/dashboard/"),
    Row("/\\evil.example/"),
    Row("/%5Cevil.example"),
    # Names that every JavaScript object answers to
    Row("/constructor"),
    Row("/__proto__"),
    Row("/hasOwnProperty"),
    Row("/toString"),
    Row("constructor"),
    Row("__proto__"),
    Row("hasOwnProperty"),
    Row("*", method="OPTIONS"),
    # Images
    _image(CHROME, AVIF),
    _image("image/avif", AVIF),
    _image("image/webp,*/*", "image/webp"),
    _image("image/png,image/svg+xml,image/*;q=0.8", "*/*"),
    _image("*/*", "*/*"),
    _image("", "*/*"),
    _image(None, "*/*"),
    _image(["image/png", "image/avif"], AVIF),
    _image(["text/html", "image/webp;q=0.5"], "image/webp"),
    _image("x" * 4000 + "image/webp", "image/webp"),
    _image("image/avif\r\nx: y", AVIF),
    Row("/_next/image", "accept */*", method="HEAD"),
    Row("/_next/image?url=http%3A%2F%2F169.254.169.254%2F", "accept */*"),
    Row("/_next/image/", headers={"accept": CHROME}),
    Row("/_next/Image", headers={"accept": CHROME}),
    Row("/_next/%69mage", headers={"accept": CHROME}),
    Row("/images/a.png", headers={"accept": CHROME}),
    # Methods CloudFront passes on, and headers
    Row("/api/orders/1", method="PATCH", headers={"content-length": "5", "authorization": "Bearer abc"}),
    Row("/api/orders/1", method="DELETE", headers={"authorization": "Basic dTpw"}),
    Row("/api/orders", method="OPTIONS", headers={"access-control-request-method": "POST", "origin": "https://x.example"}),
    Row("/", headers={"x-middleware-subrequest": "src/middleware:src/middleware"}, expected="without x-middleware-subrequest"),
    Row("/admin", headers={"x-middleware-subrequest": ["a", "b"]}, cookie=SESSION, expected="without x-middleware-subrequest"),
    Row("/api/auth/signin", headers={"x-forwarded-host": "evil.example"}, expected="without x-forwarded-host"),
    Row(
        "/",
        "without forwarded x-original-url",
        headers={"x-forwarded-for": "203.0.113.1", "forwarded": "for=203.0.113.1", "x-original-url": "/admin"},
    ),
    Row("/", headers={"accept": ["text/html", "application/json"], "x-a": "y" * 8000}),
    Row("/", headers={"__proto__": "1", "constructor": "2"}),
    Row("/", cookie="__proto__=1; constructor=2; a=1; a=2"),
    # Oversized: as long as CloudFront lets through
    Row("/" + "a" * 8000),
    Row("/dashboard?" + "a" * 8000),
    Row("/dashboard/?" + "a" * 2048, "308 /dashboard?" + "a" * 2048),
    Row("/dashboard/?" + "a=" + "b" * 8150, "308 /dashboard?" + "a=" + "b" * 8150),
    Row("/dashboard/?" + "&".join(f"p{n}={n}" for n in range(300)), "308 /dashboard?" + "&".join(f"p{n}={n}" for n in range(300))),
    Row("/dashboard/?" + "&".join(["a=1"] * 500), "308 /dashboard?" + "&".join(["a=1"] * 500)),
    Row("/dashboard/?" + "é" * 600, "308 /dashboard?" + "%C3%A9" * 600),
    Row("/dashboard", headers={f"x-{n}": "v" for n in range(400)}),
    Row("/dashboard", cookie="; ".join(f"c{n}=v" for n in range(400))),
    Row("/" + "../" * 1000 + "dashboard/"),
]

# The rules of tests/models/edge/conftest.py.
WITH_RULES = [
    Row("/", "307 /start"),
    Row("/?utm_source=mail&utm_source=web", "307 /start?utm_source=mail&utm_source=web"),
    Row("/start"),
    Row("/start/here", "→ /dashboard/"),
    Row("/dashboard/", "308 /dashboard"),
    Row("/shop?q=1", "308 /procurement/catalogue?q=1"),
    Row("/shop/"),
    Row("/shop/x"),
    Row("/procurement/catalogue?q=1"),
    Row("/a(b)+c", "308 /plain"),
    Row("/abc"),
    Row("/aab"),
    Row("/caf%C3%A9", "308 /cafe"),
    Row("/caf%c3%a9"),
    Row("/café"),
    Row("/constructor", "308 /builders"),
    Row("/constructor?prototype=1", "308 /builders?prototype=1"),
    Row("/prototype"),
    Row("constructor"),
    Row("__proto__"),
    Row("/__proto__", "→ /prototype"),
    Row("/images/old.png", "308 /images/new.png"),
    Row("/images/old.png?v=1", "308 /images/new.png?v=1", headers={"accept": CHROME}),
    Row("/images/new.png"),
    Row("/images/logo.png", "→ /images/logo-2026.png"),
    Row("/images/logo.png?v=2&v=3", "→ /images/logo-2026.png"),
    Row("/images/logo-2026.png"),
    Row("/logo", "→ /images/logo.png"),
    Row("/_next/static/v1/app.js", "→ /_next/static/v2/app.js"),
    Row("/old:path;v=1,2@x", "308 /new:path;v=3,4@y"),
    Row("/healthz", "→ /api/health/live"),
    Row("/healthz", "→ /api/health/live", method="POST", headers={"content-length": "3"}, cookie=SESSION),
    Row("/healthz?" + "a" * 2048, "→ /api/health/live"),
    Row("/healthz/"),
    Row("/api/health/live"),
    Row("/healthz", headers={"authorization": "Bearer abc"}, expected="→ /api/health/live"),
]
