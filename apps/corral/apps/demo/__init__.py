"""`corral demo`: the main job in half a minute, with a scripted model and everything else real."""

from corral.apps.demo.command import demo

__all__ = ["demo"]
