"""`corral chat`: a conversation with an agent, and a bench for its tools and its sandbox without one."""

from corral.apps.chat.command import chat

__all__ = ["chat"]
