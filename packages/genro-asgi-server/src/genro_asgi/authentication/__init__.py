"""Who is asking: authentication schemes."""

from genro_asgi.authentication.basic import BasicAuthMixin, hash_password

__all__ = ["BasicAuthMixin", "hash_password"]
