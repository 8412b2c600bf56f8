"""What hostile code tries in a session, as data: run by the tests, and by `corral sandbox check` where it will run.

Bounded in time and space, and aimed at TEST-NET-1 (RFC 5737) at most.
"""

from corral.sandbox.attacks.attack import Attack, AttackKind, Held
from corral.sandbox.attacks.protocol import PROTOCOL
from corral.sandbox.attacks.resources import RESOURCES
from corral.sandbox.attacks.sessions import SESSIONS
from corral.sandbox.attacks.system import FILES, KERNEL, NETWORK, PROCESSES

__all__ = ["ATTACKS", "Attack", "AttackKind", "Held"]

ATTACKS: tuple[Attack, ...] = (*FILES, *PROCESSES, *NETWORK, *KERNEL, *RESOURCES, *PROTOCOL, *SESSIONS)
