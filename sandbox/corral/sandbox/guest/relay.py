"""The zygote's own host, where the real one has no socket in the container: it carries all over stdin and stdout.

Towards the zygote and the sessions it is what the host is elsewhere, so that neither knows the difference.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
from typing import NoReturn

from . import egress, tunnel
from .hardening import become, undumpable
from .tunnel import HEAD

__all__ = ["main"]

STDIN, STDOUT = 0, 1
F_ADD_SEALS, ALL_SEALS, FIXED_SIZE = 1033, 0b1111, 0b0111
BACKLOG = 160 * 1024**2
"""Bytes that may wait for a session that does not read; the largest request has fewer."""

DRAINED = 64
"""Chunks that are taken from a session before word of its death is passed on."""

DIALED = 0x80000000
"""The first number of the streams that we open."""


def main(folder: str, uid: int) -> NoReturn:
    """Become the zygote, with a relay as its child. `folder` is where the guest's program is."""
    from . import zygote

    ours, theirs = socket.socketpair()
    with egress.listen_on(f"{folder}/{egress.SOCKET}") as dialed:
        if os.fork() == 0:
            theirs.close()
            become(uid)
            undumpable()
            Relay(ours, dialed).serve()
    ours.close()
    zygote.run(lambda: theirs, folder)


class Stream:
    """One end of a socket that has a number.

    Attributes:
        output: Of a channel and a control socket: what their session prints.
    """

    def __init__(self, sock: socket.socket, output: Output | None = None) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.output = output
        self.backlog = bytearray()
        self.pending: list[int] = []
        """Descriptors that go with the next bytes."""
        self.file = -1
        self.ended = False
        """Whether the host has ended its side."""


class Output:
    """What a session prints, sent when it has changed."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.descriptor = memory_file("output", size)
        self._size = os.fstat(self.descriptor).st_size
        self._sent = b""

    def close(self) -> None:
        os.close(self.descriptor)
        self.descriptor = -1

    def changed(self) -> bytes | None:
        """All that was printed, if that is something else than it was."""
        if self.descriptor < 0:
            return None
        printed = max(0, min(os.lseek(self.descriptor, 0, os.SEEK_CUR), self._size))
        content = os.pread(self.descriptor, printed, 0) if printed else b""
        if content == self._sent:
            return None
        self._sent = content
        return content


def memory_file(name: str, size: int) -> int:
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    if size:
        fcntl.fcntl(descriptor, F_ADD_SEALS, FIXED_SIZE)
    return descriptor


class Relay:
    def __init__(self, zygote: socket.socket, dialed: socket.socket) -> None:
        self._zygote = zygote
        self._dialed = dialed
        self._streams: dict[int, Stream] = {tunnel.ZYGOTE: Stream(zygote)}
        zygote.setblocking(True)  # it always reads
        self._numbers: dict[int, int] = {zygote.fileno(): tunnel.ZYGOTE}
        """Descriptors that are polled, to their streams."""
        self._outputs: dict[int, Output] = {}
        self._input = bytearray()
        self._next = DIALED
        self._poll = select.poll()
        for descriptor in (STDIN, zygote.fileno(), dialed.fileno()):
            self._poll.register(descriptor, select.POLLIN)

    def serve(self) -> NoReturn:
        """Until the host hangs up, or the zygote."""
        try:
            while True:
                ready = self._poll.poll()
                # The zygote comes last: a session's last words go before the word of its death.
                for descriptor, event in sorted(ready, key=lambda each: each[0] == self._zygote.fileno()):
                    self._attend(descriptor, event)
        finally:
            os._exit(0)

    def _attend(self, descriptor: int, event: int) -> None:
        if descriptor == STDIN:
            self._hear()
        elif descriptor == self._dialed.fileno():
            self._take_dialed()
        elif descriptor in self._numbers:
            number = self._numbers[descriptor]
            if event & select.POLLOUT:
                self._flush(number)
            if event & ~select.POLLOUT:
                if number == tunnel.ZYGOTE:
                    self._drain()
                self._carry(number)

    # To the host.

    def _say(self, kind: int, stream: int, payload: bytes = b"") -> None:
        rest = memoryview(HEAD.pack(kind, stream, len(payload)) + payload)
        while rest:
            rest = rest[os.write(STDOUT, rest) :]

    def _say_output(self, stream: Stream) -> None:
        if stream.output is not None and (content := stream.output.changed()) is not None:
            self._say(tunnel.OUTPUT, stream.output.number, content)

    def _carry(self, number: int) -> bool:
        """Pass on what has come on a stream; False if nothing had."""
        stream = self._streams[number]
        try:
            data = stream.sock.recv(tunnel.CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        self._say_output(stream)
        if data:
            self._say(tunnel.DATA, number, data)
            return True
        if number == tunnel.ZYGOTE:
            os._exit(0)
        self._say(tunnel.END, number)
        self._poll.unregister(stream.sock)
        del self._numbers[stream.sock.fileno()]
        if stream.ended:
            self._close(number)
        return False

    def _drain(self) -> None:
        for number in list(self._numbers.values()):
            if number != tunnel.ZYGOTE:
                for _ in range(DRAINED):
                    if number not in self._streams or not self._carry(number):
                        break

    def _take_dialed(self) -> None:
        sock, _ = self._dialed.accept()
        self._next += 1
        self._add(self._next, Stream(sock))
        self._say(tunnel.DIAL, self._next)

    # From the host.

    def _hear(self) -> None:
        data = os.read(STDIN, 1024**2)
        if not data:
            os._exit(0)
        self._input += data
        start = 0
        while len(self._input) - start >= HEAD.size:
            kind, number, size = HEAD.unpack_from(self._input, start)
            end = start + HEAD.size + size
            if len(self._input) < end:
                break
            payload = bytes(self._input[start + HEAD.size : end])
            start = end
            self._obey(kind, number, payload)
        del self._input[:start]

    def _obey(self, kind: int, number: int, payload: bytes) -> None:
        if kind == tunnel.END and number in self._outputs:
            self._outputs.pop(number).close()
            return
        stream = self._streams.get(number)
        if stream is None:
            return  # it has ended here before the host knew
        if kind == tunnel.DATA:
            if stream.sock.fileno() not in self._numbers:
                self._say_output(stream)  # a cell is to stop; when it does not, it dies without a word
            self._pass_in(number, stream, payload)
        elif kind == tunnel.END:
            self._end(number, stream)
        elif kind == tunnel.LINK:
            self._link(stream, payload)
        elif kind == tunnel.FILE:
            if stream.file < 0:
                stream.file = memory_file("variable", 0)
            os.write(stream.file, payload)
        elif kind == tunnel.SEAL:
            descriptor, stream.file = stream.file, -1
            fcntl.fcntl(descriptor, F_ADD_SEALS, ALL_SEALS)
            stream.pending.append(descriptor)

    def _link(self, carrier: Stream, payload: bytes) -> None:
        channel, control, output, passing, size = tunnel.LINK_PAYLOAD.unpack(payload)
        printed = self._outputs[output] = Output(output, size)
        pairs = (socket.socketpair(), socket.socketpair(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        self._add(channel, Stream(pairs[0][0], printed))
        self._streams[control] = Stream(pairs[1][0], printed)
        self._streams[passing] = Stream(pairs[2][0])
        ends = [end.detach() for _, end in pairs]
        carrier.pending += [ends[0], ends[1], os.dup(printed.descriptor), ends[2]]

    def _add(self, number: int, stream: Stream) -> None:
        self._streams[number] = stream
        self._numbers[stream.sock.fileno()] = number
        self._poll.register(stream.sock, select.POLLIN)

    def _pass_in(self, number: int, stream: Stream, data: bytes) -> None:
        if stream.backlog:
            stream.backlog += data
        else:
            try:
                sent = self._send(stream, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # it has died; reading tells
            if sent == len(data) or stream.sock.fileno() not in self._numbers:
                return  # what does not fit into a control or passing socket is for one that does not listen
            stream.backlog += memoryview(data)[sent:]
            self._poll.modify(stream.sock, select.POLLIN | select.POLLOUT)
        if len(stream.backlog) > BACKLOG:
            stream.sock.shutdown(socket.SHUT_RDWR)

    def _send(self, stream: Stream, data: bytes) -> int:
        if not stream.pending:
            return stream.sock.send(data)
        pending, stream.pending = stream.pending, []
        try:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"={len(pending)}i", *pending))]
            return stream.sock.sendmsg([data], ancillary)
        finally:
            for descriptor in pending:
                os.close(descriptor)

    def _flush(self, number: int) -> None:
        stream = self._streams[number]
        with contextlib.suppress(OSError):
            del stream.backlog[: stream.sock.send(stream.backlog)]
        if not stream.backlog and stream.sock.fileno() in self._numbers:
            self._poll.modify(stream.sock, select.POLLIN)
            if stream.ended:
                self._end(number, stream)

    def _end(self, number: int, stream: Stream) -> None:
        stream.ended = True
        if stream.backlog:
            return  # `_flush` comes back
        with contextlib.suppress(OSError):
            stream.sock.shutdown(socket.SHUT_WR)
        if stream.sock.fileno() not in self._numbers:
            self._close(number)

    def _close(self, number: int) -> None:
        stream = self._streams.pop(number)
        for descriptor in (*stream.pending, stream.file):
            if descriptor >= 0:
                os.close(descriptor)
        stream.sock.close()
