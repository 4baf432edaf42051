"""Keys, JWTs and certificates, made afresh for each test; nothing here is worth keeping."""

import base64
import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import nkeys


class Pair(NamedTuple):
    """An nkey: what is told to all, and what nobody may know."""

    public: str
    seed: str


def make_nkey(kind: str = "user") -> Pair:
    """Return a new nkey of a kind: user, account or operator."""
    prefix = {
        "user": nkeys.PREFIX_BYTE_USER,
        "account": nkeys.PREFIX_BYTE_ACCOUNT,
        "operator": nkeys.PREFIX_BYTE_OPERATOR,
    }[kind]
    seed = bytes(nkeys.encode_seed(os.urandom(32), prefix))
    return Pair(nkeys.from_seed(bytearray(seed)).public_key.decode(), seed.decode())


def make_jwt(kind: str, subject: str, issuer: Pair, **claims: Any) -> str:
    """Return a JWT as NATS has them: the issuer's word on the subject, signed by its nkey."""
    told: dict[str, Any] = {"iat": int(time.time()), "iss": issuer.public, "name": kind, "sub": subject}
    told |= {"nats": {"type": kind, "version": 2, **claims}}
    digest = hashlib.sha256(json.dumps(told).encode()).digest()
    told["jti"] = base64.b32encode(digest).decode().rstrip("=")
    text = f"{_base64({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_base64(told)}"
    signature = nkeys.from_seed(bytearray(issuer.seed.encode())).sign(text.encode())
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def _base64(found: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(found).encode()).decode().rstrip("=")


class Operator:
    """An operator with one account: the configuration of a server that trusts it, and `.creds` of users."""

    def __init__(self) -> None:
        self._operator, self._account = make_nkey("operator"), make_nkey("account")
        self._system = make_nkey("account").public

    def config(self) -> str:
        """Return the server's configuration."""
        limits = {name: -1 for name in ("subs", "conn", "leaf", "imports", "exports", "data", "payload")}
        plain = {**limits, "wildcards": True}  # JetStream is not for the system account
        limits |= {"wildcards": True, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        accounts = {
            self._account.public: make_jwt("account", self._account.public, self._operator, limits=limits),
            self._system: make_jwt("account", self._system, self._operator, limits=plain),
        }
        operator = make_jwt("operator", self._operator.public, self._operator)
        preload = "\n".join(f"{public}: {token}" for public, token in accounts.items())
        trusted = f"operator: {operator}\nsystem_account: {self._system}\nresolver: MEMORY\n"
        return f"{trusted}resolver_preload: {{\n{preload}\n}}\n"

    def creds(self) -> str:
        """Return the text of a `.creds` file of a new user."""
        user = make_nkey()
        limits = {"subs": -1, "data": -1, "payload": -1}
        token = make_jwt("user", user.public, self._account, pub={}, sub={}, **limits)
        return (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


class Authority:
    """A certificate authority in a directory; needs the program openssl."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        subject = ["-subj", "/CN=test authority", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"]
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject)

    @property
    def ca(self) -> str:
        return str(self._directory / "ca.pem")

    def issue(self, name: str) -> tuple[str, str]:
        """Return the files of a new certificate and its key, good for 127.0.0.1."""
        extensions = self._directory / f"{name}.ext"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        key, request, certificate = f"{name}.key", f"{name}.csr", f"{name}.pem"
        self._openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        )
        self._openssl(
            *("x509", "-req", "-in", request, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", str(extensions), "-out", certificate),
        )
        return str(self._directory / certificate), str(self._directory / key)

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self._directory, check=True, capture_output=True)
