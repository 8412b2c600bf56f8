"""What may happen: rules, labels, the gate, approvals, budgets, the audit, and the vocabulary of events."""

from typing import TYPE_CHECKING

from corral.policy.lazy import lazily

if TYPE_CHECKING:
    from corral.policy.action import Action, ActionKind
    from corral.policy.approvals import Approval, ApprovalRequest, Approver
    from corral.policy.audit import Audit, AuditRecord, FileAudit, MemoryAudit
    from corral.policy.budget import Budget, Limits, Reservation, Spend
    from corral.policy.cases import Case, CaseResult, Change, diff, read_cases, run_cases
    from corral.policy.cedar import cedar_request, to_cedar
    from corral.policy.chain import AuditBroken, Checkpoint, verify
    from corral.policy.errors import BudgetExceeded, Denied, NotAdmitted, PolicyError, PolicyFileError
    from corral.policy.events import (
        ApprovalAsked,
        ApprovalGiven,
        BudgetWarned,
        CellFinished,
        CellOutput,
        CellStarted,
        Compacted,
        Consolidated,
        ConsolidationStarted,
        Emitter,
        Event,
        Intervened,
        MessageAdded,
        ModelCalled,
        Planned,
        Recalled,
        Remembered,
        ResumeWarned,
        RunFinished,
        RunStarted,
        ServerLogged,
        Sink,
        SourceFailed,
        StepStarted,
        TextDelta,
        ToolCalled,
        ToolProgressed,
        ToolReturned,
        Usage,
    )
    from corral.policy.explanation import Explanation, Remark, explain
    from corral.policy.facts import Facts
    from corral.policy.gate import Admission, Gate, Throttle
    from corral.policy.grants import Grant, Grants
    from corral.policy.judgement import GrantScope, Judgement, Verdict
    from corral.policy.label import Confidentiality, Integrity, Label
    from corral.policy.layers import Layers, Opinion
    from corral.policy.learn import as_yaml, propose_manifest, propose_rules
    from corral.policy.ledger import Ledger, LedgerFault
    from corral.policy.lint import LintFinding, check
    from corral.policy.manifest import EffectClass, Manifest, Manifests, Role, ToolManifest, schema_hash
    from corral.policy.mode import Mode
    from corral.policy.policy import Judge, Policy
    from corral.policy.provenance import Provenance
    from corral.policy.quotas import Quota, Quotas
    from corral.policy.rates import Rate, RateLimits, Repeats
    from corral.policy.redaction import Finding, Redactor
    from corral.policy.rule import SecurityPolicy, compile_pattern
    from corral.policy.sealed import ChainedAudit, load_key
    from corral.policy.settings import SettingChange, diff_settings
    from corral.policy.sinks import FLOORS, Sinks
    from corral.policy.traces import Endorsement, Traces
    from corral.policy.tracing import Tracing
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "action": "Action ActionKind",
            "approvals": "Approval ApprovalRequest Approver",
            "audit": "Audit AuditRecord FileAudit MemoryAudit",
            "budget": "Budget Limits Reservation Spend",
            "cases": "Case CaseResult Change diff read_cases run_cases",
            "cedar": "cedar_request to_cedar",
            "chain": "AuditBroken Checkpoint verify",
            "errors": "BudgetExceeded Denied NotAdmitted PolicyError PolicyFileError",
            "events": (
                "ApprovalAsked ApprovalGiven BudgetWarned CellFinished CellOutput CellStarted Compacted "
                "Consolidated ConsolidationStarted Emitter Event Intervened MessageAdded ModelCalled Planned Recalled "
                "Remembered ResumeWarned RunFinished RunStarted ServerLogged Sink SourceFailed StepStarted TextDelta "
                "ToolCalled ToolProgressed ToolReturned Usage"
            ),
            "explanation": "Explanation Remark explain",
            "facts": "Facts",
            "gate": "Admission Gate Throttle",
            "grants": "Grant Grants",
            "judgement": "GrantScope Judgement Verdict",
            "label": "Confidentiality Integrity Label",
            "layers": "Layers Opinion",
            "learn": "as_yaml propose_manifest propose_rules",
            "ledger": "Ledger LedgerFault",
            "lint": "LintFinding check",
            "manifest": "EffectClass Manifest Manifests Role ToolManifest schema_hash",
            "mode": "Mode",
            "policy": "Judge Policy",
            "provenance": "Provenance",
            "quotas": "Quota Quotas",
            "rates": "Rate RateLimits Repeats",
            "redaction": "Finding Redactor",
            "rule": "SecurityPolicy compile_pattern",
            "sealed": "ChainedAudit load_key",
            "settings": "SettingChange diff_settings",
            "sinks": "FLOORS Sinks",
            "traces": "Endorsement Traces",
            "tracing": "Tracing",
        },
    )

__all__ = [
    "Action",
    "ActionKind",
    "Admission",
    "Approval",
    "ApprovalAsked",
    "ApprovalGiven",
    "ApprovalRequest",
    "Approver",
    "Audit",
    "AuditBroken",
    "AuditRecord",
    "Budget",
    "BudgetExceeded",
    "BudgetWarned",
    "Case",
    "CaseResult",
    "CellFinished",
    "CellOutput",
    "CellStarted",
    "ChainedAudit",
    "Change",
    "Checkpoint",
    "Compacted",
    "Consolidated",
    "ConsolidationStarted",
    "Confidentiality",
    "Denied",
    "EffectClass",
    "Emitter",
    "Endorsement",
    "Event",
    "Explanation",
    "FLOORS",
    "Facts",
    "FileAudit",
    "Finding",
    "Gate",
    "Grant",
    "GrantScope",
    "Grants",
    "Integrity",
    "Intervened",
    "Judge",
    "Judgement",
    "Label",
    "Layers",
    "Ledger",
    "LedgerFault",
    "Limits",
    "LintFinding",
    "Manifest",
    "Manifests",
    "MemoryAudit",
    "MessageAdded",
    "Mode",
    "ModelCalled",
    "NotAdmitted",
    "Opinion",
    "Planned",
    "Policy",
    "PolicyError",
    "PolicyFileError",
    "Provenance",
    "Quota",
    "Quotas",
    "Rate",
    "RateLimits",
    "Recalled",
    "Redactor",
    "Remark",
    "Remembered",
    "Repeats",
    "Reservation",
    "Role",
    "ResumeWarned",
    "RunFinished",
    "RunStarted",
    "SecurityPolicy",
    "ServerLogged",
    "Sink",
    "SourceFailed",
    "SettingChange",
    "Sinks",
    "Spend",
    "StepStarted",
    "TextDelta",
    "Throttle",
    "Traces",
    "Tracing",
    "ToolCalled",
    "ToolProgressed",
    "ToolManifest",
    "ToolReturned",
    "Usage",
    "Verdict",
    "as_yaml",
    "cedar_request",
    "check",
    "compile_pattern",
    "diff",
    "diff_settings",
    "explain",
    "load_key",
    "propose_manifest",
    "propose_rules",
    "read_cases",
    "run_cases",
    "schema_hash",
    "to_cedar",
    "verify",
]
