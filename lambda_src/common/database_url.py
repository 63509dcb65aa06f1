"""DATABASE_URL, DIRECT_URL and REDIS_URL in the connection secrets. No other module writes them.

Values are percent-encoded. `sslaccept=strict` verifies the server against the certificate authorities of the image.
Without `sslcert`, because Prisma reads only the file's first certificate and RDS's bundle has more than a hundred (ADR 0010).
Source: Prisma "Connection URLs: PostgreSQL"; AWS "Using TLS/SSL with RDS Proxy"; manual "Connection Pooling".
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from common.secrets import Secret


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Addresses of the application's servers, and its connection pool's settings."""

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
    """The secret of the application and the operations task."""
    pool = {
        "connection_limit": str(endpoints.connection_limit),
        "pool_timeout": str(endpoints.pool_timeout_seconds),
        "max_idle_connection_lifetime": str(endpoints.pool_idle_seconds),
    }
    return {
        "DATABASE_URL": _database_url(endpoints, endpoints.proxy_host, user, password, pool),
        "DIRECT_URL": _direct_url(endpoints, user, password),
        "REDIS_URL": f"rediss://:{_quote(redis_token)}@{endpoints.redis_host}:{endpoints.redis_port}",
        "PGUSER": user,
        "PGPASSWORD": password,
        "REDISCLI_AUTH": redis_token,
    }


def migration_secret(endpoints: Endpoints, *, user: str, password: str) -> Secret:
    """The secret of the migration task: both of Prisma's URLs connect to the instance as the owner of the schema."""
    url = _direct_url(endpoints, user, password)
    return {"DATABASE_URL": url, "DIRECT_URL": url}


def with_login(secret: Secret, *, user: str, password: str) -> Secret:
    """Replace user and password in an existing secret."""
    login = f"{_quote(user)}:{_quote(password)}"
    urls = {name: _replace_login(secret[name], login) for name in ("DATABASE_URL", "DIRECT_URL")}
    psql = {"PGUSER": user, "PGPASSWORD": password}
    return {**secret, **urls, **{name: value for name, value in psql.items() if name in secret}}


def with_redis_token(secret: Secret, token: str) -> Secret:
    """Replace the Redis AUTH token in an existing secret."""
    return {**secret, "REDIS_URL": _replace_login(secret["REDIS_URL"], f":{_quote(token)}"), "REDISCLI_AUTH": token}


def user_of(secret: Secret) -> str | None:
    """The database user in the secret; None while the secret is empty."""
    url = secret.get("DIRECT_URL")
    return unquote(urlsplit(url).username or "") if url else None


def password_of(secret: Secret) -> str | None:
    """The password in the secret; None while the secret is empty."""
    url = secret.get("DIRECT_URL")
    return unquote(urlsplit(url).password or "") if url else None


def _direct_url(endpoints: Endpoints, user: str, password: str) -> str:
    return _database_url(endpoints, endpoints.database_host, user, password, {})


def _database_url(endpoints: Endpoints, host: str, user: str, password: str, options: dict[str, str]) -> str:
    query = urlencode({"sslmode": "require", "sslaccept": "strict", **options})
    return f"postgresql://{_quote(user)}:{_quote(password)}@{host}:{endpoints.database_port}/{endpoints.database_name}?{query}"


def _replace_login(url: str, login: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}"))


def _quote(text: str) -> str:
    return quote(text, safe="")
