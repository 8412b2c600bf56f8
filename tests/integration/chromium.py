"""A headless Chromium whose one page is driven over a pipe, by the Chrome DevTools Protocol."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # a page's fonts are not fetched from elsewhere
    "--window-size=1600,1200",
)


class Page:
    """One page, from entering to leaving; scripts see its document.

    Args:
        profile: A folder for what the browser keeps.
    """

    def __init__(self, profile: Path) -> None:
        self._profile = profile
        self._last = 0
        self._rest = b""
        self._session = ""

    def __enter__(self) -> Self:
        program = next((found for name in _PROGRAMS if (found := shutil.which(name))), None)
        assert program is not None, "no Chromium here; install Debian's chromium-headless-shell"
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        run = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "chromium", program, *_FLAGS]
        self._process = subprocess.Popen(
            [*run, f"--user-data-dir={self._profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send("Browser.close")
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5)
        os.close(self._in)
        os.close(self._out)

    def go(self, url: str) -> None:
        self._send("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The JSON value of an expression."""
        got = self._send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def text(self) -> str:
        """All that a person reads."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def until(self, script: str, timeout: float = 20.0) -> Any:
        """The first true value of an expression."""
        end = time.monotonic() + timeout
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"it never was: {script}\n{self.text()}"
            time.sleep(0.02)
        return value

    def reads(self, text: str) -> None:
        """Wait until a person reads `text`."""
        self.until(f"!!document.body && document.body.innerText.includes({json.dumps(text)})")

    def click(self, selector: str, text: str = "") -> None:
        """The first enabled element of a CSS selector, with `text` at its beginning."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        fits = f"e => !e.disabled && e.innerText.trim().startsWith({json.dumps(text)})"
        self.until(f"(e => !!e && (e.click(), true))({found}.find({fits}))")

    def type(self, label: str, text: str) -> None:
        """Into the field whose label begins with `label`."""
        labels = "[...document.querySelectorAll('label')]"
        fits = f"e => e.control && e.innerText.trim().startsWith({json.dumps(label)})"
        self.until(f"(e => !!e && (e.control.focus(), true))({labels}.find({fits}))")
        self._send("Input.insertText", text=text)

    def _send(self, method: str, **params: Any) -> Any:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._in], [], [], 30)[0], "the browser is silent"
            got = os.read(self._in, 1 << 16)
            assert got, "the browser has ended"
            self._rest += got
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)
