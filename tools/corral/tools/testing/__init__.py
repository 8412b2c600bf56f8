"""Real counterparts for tests and demonstrations: an OAuth authorization server with an API behind it, on loopback."""

from corral.tools.testing.loopback import LoopbackOAuth

__all__ = ["LoopbackOAuth"]
