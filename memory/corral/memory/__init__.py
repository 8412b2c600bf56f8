"""What an agent remembers: the window before the model, what was said, and what is known for good."""

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
