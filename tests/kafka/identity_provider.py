"""What OAUTHBEARER's OIDC method needs: an endpoint that gives tokens, and the keys that tokens are held to."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.kafka.readiness import HOST

AUDIENCE = "kafka"
_KEY_ID = "test"
_LIFE_S = 300


@dataclass(slots=True)
class IdentityProvider:
    """Gives a token to every client that knows its secret; the client's id is the token's subject."""

    client_secret: str
    port: int = 0
    tokens_given: int = 0
    _key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65_537, 2048))

    @property
    def endpoint(self) -> str:
        """Address that clients ask for tokens."""
        return f"http://{HOST}:{self.port}/token"

    def write_keys(self, path: Path) -> None:
        """Write the public key as a JSON Web Key Set (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": _KEY_ID}
        key |= {name: _number(value) for name, value in (("n", numbers.n), ("e", numbers.e))}
        path.write_text(json.dumps({"keys": [key]}))

    def token(self, subject: str) -> str:
        """Return a signed JSON Web Token (RFC 7519)."""
        now = int(time.time())
        claims = {"sub": subject, "aud": AUDIENCE, "iat": now, "exp": now + _LIFE_S, "scope": AUDIENCE}
        head = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        signed = ".".join(_text(json.dumps(part).encode()) for part in (head, claims))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_text(signature)}"


@contextmanager
def identity_provider(client_secret: str) -> Iterator[IdentityProvider]:
    """Serve tokens for as long as the block lasts."""
    provider = IdentityProvider(client_secret)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
            client, _, secret = base64.b64decode(credentials).decode().partition(":")
            if scheme != "Basic" or secret != provider.client_secret:
                self.send_error(401)
                return
            provider.tokens_given += 1
            token = {"access_token": provider.token(client), "token_type": "Bearer", "expires_in": _LIFE_S}
            body = json.dumps(token).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        provider.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))
