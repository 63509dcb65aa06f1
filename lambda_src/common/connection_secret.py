"""The one module that writes connection URLs.

Values are percent-encoded and the TLS mode is named: `sslaccept=strict` verifies the server against what the image trusts.
No `sslcert`: Prisma reads the first certificate of that file only, and RDS's bundle holds over a hundred (ADR 0010).
Source: Prisma "Connection URLs: PostgreSQL"; AWS "Using TLS/SSL with RDS Proxy"; manual "Connection Pooling".
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from common.secret_values import Secret


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where the application finds things, and the figures of its pool."""

    database_host: str
    proxy_host: str
    database_port: int
    database_name: str
    redis_host: str
    redis_port: int
    connection_limit: int
    pool_timeout_seconds: int
    pool_idle_seconds: int


def application_secret(endpoints: Endpoints, *, user: str, password: str, redis_token: str) -> Secret:
    """What the application and the operations task read."""
    pool = {
        "connection_limit": str(endpoints.connection_limit),
        "pool_timeout": str(endpoints.pool_timeout_seconds),
        "max_idle_connection_lifetime": str(endpoints.pool_idle_seconds),
    }
    return {
        "DATABASE_URL": _database_url(endpoints, endpoints.proxy_host, user, password, pool),
        "DIRECT_URL": _direct_url(endpoints, user, password),
        "REDIS_URL": f"rediss://:{_quoted(redis_token)}@{endpoints.redis_host}:{endpoints.redis_port}",
        "PGUSER": user,
        "PGPASSWORD": password,
        "REDISCLI_AUTH": redis_token,
    }


def migration_secret(endpoints: Endpoints, *, user: str, password: str) -> Secret:
    """What the migration task reads: the owner of the schema, on the instance, for both of Prisma's URLs."""
    url = _direct_url(endpoints, user, password)
    return {"DATABASE_URL": url, "DIRECT_URL": url}


def with_login(secret: Secret, *, user: str, password: str) -> Secret:
    """A written secret for another user or password: the same places, the same figures."""
    login = f"{_quoted(user)}:{_quoted(password)}"
    urls = {name: _logged_in(secret[name], login) for name in ("DATABASE_URL", "DIRECT_URL")}
    psql = {"PGUSER": user, "PGPASSWORD": password}
    return {**secret, **urls, **{name: value for name, value in psql.items() if name in secret}}


def with_redis_token(secret: Secret, token: str) -> Secret:
    """A written secret for another Redis AUTH token."""
    return {**secret, "REDIS_URL": _logged_in(secret["REDIS_URL"], f":{_quoted(token)}"), "REDISCLI_AUTH": token}


def user_of(secret: Secret) -> str | None:
    """The database user a written secret names; none when it is still empty."""
    url = secret.get("DIRECT_URL")
    return unquote(urlsplit(url).username or "") if url else None


def password_of(secret: Secret) -> str | None:
    """The password a written secret holds; none when it is still empty."""
    url = secret.get("DIRECT_URL")
    return unquote(urlsplit(url).password or "") if url else None


def _direct_url(endpoints: Endpoints, user: str, password: str) -> str:
    return _database_url(endpoints, endpoints.database_host, user, password, {})


def _database_url(endpoints: Endpoints, host: str, user: str, password: str, options: dict[str, str]) -> str:
    query = urlencode({"sslmode": "require", "sslaccept": "strict", **options})
    return f"postgresql://{_quoted(user)}:{_quoted(password)}@{host}:{endpoints.database_port}/{endpoints.database_name}?{query}"


def _logged_in(url: str, login: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}"))


def _quoted(text: str) -> str:
    return quote(text, safe="")
