"""What an agent remembers: the window before the model, what was said, and what is known for good."""

from typing import TYPE_CHECKING

from corral.policy.lazy import lazily

if TYPE_CHECKING:
    from corral.memory.calling import CallingEmbedder, mem0_embedder
    from corral.memory.changes import FactChange
    from corral.memory.embedder import Embedder
    from corral.memory.errors import (
        ConsolidationBusy,
        ConsolidationFailed,
        EmbedderUnavailable,
        LongTermUnavailable,
        MemoryFault,
        NotRemembered,
        Quarantined,
        StoreCorrupt,
        StoreTooNew,
        StoreUnavailable,
        WindowTooSmall,
    )
    from corral.memory.hashing import HashingEmbedder
    from corral.memory.memory import Memory
    from corral.memory.minilm import MiniLMEmbedder
    from corral.memory.model import Model
    from corral.memory.scope import Scope
    from corral.memory.shared import SharedStore
    from corral.memory.tokens import estimate_tokens
    from corral.memory.turn import Pending, Receipt, Recollection, Turn
    from corral.memory.window import Message, Window, fit_window
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "calling": "CallingEmbedder mem0_embedder",
            "changes": "FactChange",
            "embedder": "Embedder",
            "errors": (
                "ConsolidationBusy ConsolidationFailed EmbedderUnavailable LongTermUnavailable MemoryFault "
                "NotRemembered Quarantined StoreCorrupt StoreTooNew StoreUnavailable WindowTooSmall"
            ),
            "hashing": "HashingEmbedder",
            "memory": "Memory",
            "minilm": "MiniLMEmbedder",
            "model": "Model",
            "scope": "Scope",
            "shared": "SharedStore",
            "tokens": "estimate_tokens",
            "turn": "Pending Receipt Recollection Turn",
            "window": "Message Window fit_window",
        },
    )

__all__ = [
    "CallingEmbedder",
    "ConsolidationBusy",
    "ConsolidationFailed",
    "Embedder",
    "EmbedderUnavailable",
    "FactChange",
    "HashingEmbedder",
    "LongTermUnavailable",
    "Memory",
    "MemoryFault",
    "Message",
    "MiniLMEmbedder",
    "Model",
    "NotRemembered",
    "Pending",
    "Quarantined",
    "Receipt",
    "Recollection",
    "Scope",
    "SharedStore",
    "StoreCorrupt",
    "StoreTooNew",
    "StoreUnavailable",
    "Turn",
    "Window",
    "WindowTooSmall",
    "estimate_tokens",
    "fit_window",
    "mem0_embedder",
]
