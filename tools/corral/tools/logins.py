"""Where the logins of configured servers are kept, and the ways in that a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from corral.tools.client_identity import Assertion, PrivateKeyJwt, TokenFile
from corral.tools.clock import ServerClock
from corral.tools.errors import TokenError
from corral.tools.grants import AuthorizationCode, ClientCredentials, Grant, JwtBearer, TokenExchange
from corral.tools.oauth import OAuthClient
from corral.tools.server_login import ServerLogin
from corral.tools.token_store import TokenStore

__all__ = ["LoginEntry", "Logins", "OAuthEntry"]

_MAX_KEY_BYTES: Final = 64 * 1024

Way = Literal["person", "client_credentials", "jwt_bearer", "token_exchange"]


@dataclass(frozen=True, slots=True)
class Logins:
    """The logins of a configuration's servers, which were begun elsewhere: nobody is asked by a run.

    Attributes:
        open: Gives where they are kept; called only if a server has a login.
        advice: What is said to who has to log in; `{server}` stands for the server's name.
    """

    open: Callable[[], TokenStore]
    advice: str = "log in to {server} again"

    def advise(self, server: str) -> str:
        return self.advice.replace("{server}", server)


class _Client(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    client_secret: SecretStr | None = None
    private_key_file: str | None = None
    token_file: str | None = None
    dpop: bool = False

    @model_validator(mode="after")
    def _is_one_client(self) -> Self:
        if self.client_secret is not None and self.private_key_file is not None:
            raise ValueError("a client has a client_secret or a private_key_file, not both")
        return self

    def assertion(self, way: Way) -> Assertion | None:
        """How the client shows who it is, instead of a secret."""
        if self.private_key_file is not None:
            return _KeyFile(self.private_key_file)
        return TokenFile(self.token_file) if self.token_file is not None and way == "client_credentials" else None

    def grant(self, way: Way) -> Grant | None:
        """How to come to a token; None where a person consents."""
        if way in ("jwt_bearer", "token_exchange") and self.token_file is None:
            raise ValueError(f"grant {way!r} needs a token_file, whose token is traded")
        match way:
            case "person":
                return None
            case "client_credentials":
                return ClientCredentials()
            case "jwt_bearer":
                return JwtBearer(TokenFile(str(self.token_file)))
            case "token_exchange":
                return TokenExchange(TokenFile(str(self.token_file)))


class OAuthEntry(_Client):
    """`oauth` of a server's entry: a client of an authorization server that the entry names."""

    token_url: str | None = None
    issuer: str | None = None
    client_id: str
    scopes: list[str] = []
    resource: str | None = None
    auth_method: Literal["client_secret_basic", "client_secret_post"] | None = None
    way: Way = Field(default="client_credentials", alias="grant")
    step_up: bool = False

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.token_url is None and self.issuer is None:
            raise ValueError("a token_url is required, or an issuer that says it")
        if self.way == "person" and self.issuer is None:
            raise ValueError("where a person logs in, an issuer is required, whose metadata says where")
        if self.way == "client_credentials" and not (self.client_secret or self.private_key_file or self.token_file):
            raise ValueError("client_credentials need a client_secret, a private_key_file or a token_file")
        self.grant(self.way)
        return self

    def make(self, environ: Mapping[str, str] | None, logins: Logins | None, server: str) -> OAuthClient:
        is_kept = logins is not None and self.way == "person"
        return OAuthClient(
            self.token_url,
            self.client_id,
            self.client_secret,
            issuer=self.issuer,
            scopes=self.scopes,
            resource=self.resource,
            auth_method=self.auth_method if self.client_secret is not None else None,
            assertion=self.assertion(self.way),
            grant=self.grant(self.way) or AuthorizationCode(),
            dpop=self.dpop,
            step_up=self.step_up and self.way != "person",
            store=logins.open() if is_kept and logins is not None else None,
            advice="log in again" if logins is None else logins.advise(server),
            environ=environ,
        )


class LoginEntry(_Client):
    """`login` of a server's entry, where it is more than true: the server says where its tokens come from."""

    client_id: str | None = None
    client_metadata_url: str | None = None
    port: int = Field(default=0, ge=0, lt=65536)
    way: Way = Field(default="person", alias="grant")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.client_id is None and (self.client_secret or self.private_key_file):
            raise ValueError("a client_secret or private_key_file is that of a client_id, which is missing")
        self.grant(self.way)
        return self

    def make(self, environ: Mapping[str, str] | None, logins: Logins | None, server: str) -> ServerLogin:
        return ServerLogin(
            client_id=self.client_id,
            client_secret=self.client_secret,
            client_metadata_url=self.client_metadata_url,
            client_assertion=self.assertion(self.way),
            grant=self.grant(self.way),
            dpop=self.dpop,
            port=self.port,
            store=None if logins is None else logins.open(),
            ask=logins is None,
            advice="log in again" if logins is None else logins.advise(server),
            environ=environ,
        )


@dataclass(frozen=True, slots=True)
class _KeyFile:
    """`PrivateKeyJwt` over a file, read when something is to be signed."""

    path: str

    def __call__(self, client_id: str, audience: str, clock: ServerClock) -> str:
        try:
            key = Path(self.path).expanduser().read_text(encoding="ascii")[:_MAX_KEY_BYTES]
        except (OSError, UnicodeDecodeError):
            raise TokenError("the OAuth client", f"its private key {self.path} can't be read") from None
        return PrivateKeyJwt(SecretStr(key))(client_id, audience, clock)
