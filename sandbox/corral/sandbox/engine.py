"""The Docker engine of this machine, behind the few calls that we make of it; no other module touches docker-py."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from corral.sandbox.errors import SandboxUnavailable

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["LABEL", "Engine", "Found"]

LABEL = "corral.sandbox"
"""Marks every container of ours."""

FIRST_TIMEOUT, TIMEOUT = 10, 60
"""Seconds that the engine may take to say its version, and for each answer from then on."""


@dataclass(frozen=True)
class Found:
    """A container of ours that the engine knows, ours meaning any Corral process's."""

    id: str
    labels: Mapping[str, str]
    name: str = ""
    image: str = ""
    status: str = ""
    created: float = 0.0


class Engine:
    """A connection to the engine. Every method blocks: call it in a worker thread."""

    def __init__(self, client: DockerClient) -> None:
        self._client = client
        # docker-py is untyped below the client; what comes out of it is narrowed in each method here.
        self._api: Any = client.api

    @classmethod
    def connect(cls) -> Self:
        """The engine that DOCKER_HOST names, or the local one.

        Raises:
            SandboxUnavailable: None answers.
        """
        # Here to keep start-up light: docker-py takes 0.1 s to import.
        from docker.errors import DockerException
        from requests import RequestException, Timeout

        _knock()
        _check_certificates()
        try:
            return cls(_client())
        except (DockerException, RequestException) as error:
            silent = isinstance(error, Timeout) or isinstance(error.__cause__, Timeout)
            reason = f"it said nothing for {FIRST_TIMEOUT} s" if silent else error
            raise SandboxUnavailable(f"no Docker engine answers ({reason}); start one, or use Monty") from error

    @property
    def version(self) -> str:
        with self._speaking():
            return str(self._api.version()["Version"])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the engine says that it cannot do, such as "No swap limit support"."""
        with self._speaking():
            return tuple(self._api.info().get("Warnings") or ())

    def has_image(self, tag: str) -> bool:
        from docker.errors import ImageNotFound

        with self._speaking():
            try:
                self._api.inspect_image(tag)
            except ImageNotFound:
                return False
            return True

    def build_image(self, dockerfile: str, tag: str) -> Generator[str]:
        """Build from a Dockerfile without context; yields the engine's lines.

        Raises:
            SandboxUnavailable: The engine could not pull the base or a step failed.
        """
        with self._speaking():
            for line in self._api.build(
                fileobj=BytesIO(dockerfile.encode()), tag=tag, rm=True, forcerm=True, pull=True, decode=True
            ):
                if "error" in line:
                    raise SandboxUnavailable(str(line["error"]).strip())
                if text := str(line.get("stream") or line.get("status") or "").strip():
                    yield text

    def import_image(self, tar: Path, tag: str, changes: list[str]) -> None:
        """Make an image of one layer from a tar of a root file system."""
        name, _, version = tag.partition(":")
        with self._speaking():
            reply = self._api.import_image_from_file(str(tar), repository=name, tag=version, changes=changes)
            if "error" in reply:
                raise SandboxUnavailable(f"the engine refused the image: {reply}")

    def create(self, config: Mapping[str, Any], host: Mapping[str, Any]) -> str:
        """Create a container from keyword arguments of docker-py; returns its id."""
        with self._speaking():
            made = self._api.create_container(**config, host_config=self._api.create_host_config(**host))
            return str(made["Id"])

    def start(self, container: str) -> None:
        with self._speaking():
            self._api.start(container)

    def attach(self, container: str) -> socket.socket:
        """A container's stdin, stdout and stderr, the latter two in Docker's frames; the caller closes it."""
        with self._speaking():
            params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            attached: Any = self._api.attach_socket(container, params)
        sock = getattr(attached, "_sock", attached)
        if isinstance(sock, ssl.SSLSocket):
            # As long as the response reads from it, closing it would only mark it; no copy of it can be made.
            response: Any = getattr(sock, "_response", None)
            response.raw._fp.close()
            return sock
        if type(sock) is not socket.socket:
            return sock  # ssh: a socket but in name
        # The response owns it, and closes it when it is garbage.
        own = socket.socket(fileno=os.dup(sock.fileno()))
        attached.close()
        sock.close()
        return own

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine says of a container; empty if it is gone."""
        from docker.errors import NotFound

        with self._speaking():
            try:
                return dict(self._api.inspect_container(container))
            except NotFound:
                return {}

    def remove(self, container: str) -> None:
        """Kill and remove a container; one that is gone, or going, is fine."""
        from docker.errors import APIError

        with self._speaking():
            try:
                self._api.remove_container(container, force=True, v=True)
            except APIError as error:
                if error.status_code not in (404, 409):  # gone; removal already in progress (auto_remove)
                    raise

    def containers(self) -> list[Found]:
        """Every container of ours, running or not."""
        with self._speaking():
            rows = self._api.containers(all=True, filters={"label": [f"{LABEL}=1"]})
            return [
                Found(
                    str(row["Id"]),
                    dict(row["Labels"] or {}),
                    str((row.get("Names") or [""])[0]).removeprefix("/"),
                    str(row.get("Image", "")),
                    str(row.get("Status", "")),
                    float(row.get("Created", 0)),
                )
                for row in rows
            ]

    def image_tags(self, name: str) -> list[str]:
        """The tags of the image `name` that the engine has."""
        with self._speaking():
            return [str(tag) for row in self._api.images(name=name) for tag in row.get("RepoTags") or ()]

    def remove_image(self, tag: str) -> None:
        with self._speaking():
            self._api.remove_image(tag)

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _speaking(self) -> Generator[None]:
        from docker.errors import DockerException
        from requests import RequestException

        try:
            yield
        except (DockerException, RequestException) as error:
            raise SandboxUnavailable(f"the Docker engine failed: {error}") from error


def _client() -> DockerClient:
    import docker
    from docker.utils import kwargs_from_env

    given: Any = kwargs_from_env()
    if not given.get("tls"):
        client = docker.from_env(timeout=FIRST_TIMEOUT)
        _extend(client)
        return client
    # With a version it asks for none yet; what REQUESTS_CA_BUNDLE names must not take the place of the authority given.
    client = docker.DockerClient(timeout=FIRST_TIMEOUT, version="1.41", **given)
    api: Any = client.api
    api.trust_env = False
    try:
        api._version = str(api.version(api_version=False)["ApiVersion"])
    except BaseException:
        client.close()
        raise
    _extend(client)
    return client


def _extend(client: DockerClient) -> None:
    api: Any = client.api
    api.timeout = TIMEOUT


def _knock() -> None:
    """Fail early when nobody listens at the engine's address: docker-py would leave its own socket open then, and has
    no short way to say so."""
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    url = urlsplit(address)
    try:
        if url.scheme == "unix":
            address = address.removeprefix("unix://")
            with socket.socket(socket.AF_UNIX) as knock:
                knock.connect(address)
        elif url.scheme in ("tcp", "http", "https") and url.hostname and url.port:
            socket.create_connection((url.hostname, url.port), FIRST_TIMEOUT).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        problem = f"no Docker engine answers at {address} ({reason}); start one, or use Monty"
        raise SandboxUnavailable(problem) from error


def _check_certificates() -> None:
    if not os.environ.get("DOCKER_TLS_VERIFY"):
        return
    folder = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    missing = [name for name in ("ca.pem", "cert.pem", "key.pem") if not (folder / name).is_file()]
    if missing:
        raise SandboxUnavailable(f"DOCKER_TLS_VERIFY is set, and {folder} has no {', '.join(missing)}")
