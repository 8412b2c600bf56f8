"""Corral's gate on AgentDojo's worst case, for `dojo_bench.py --gate policy_dojo:CorralGate`; no model is called.

    cd benchmarks && PYTHONPATH=../policy python .../dojo_bench.py --gate policy_dojo:CorralGate --mode plain

Modes are plain, obfuscated and spoof. The manifests below are written per tool and never per task, there is no oracle
and no plan made by a model; but they and the gate's rules were made by people who had seen these suites, so the
figures say that the gate can hold here and not how it does elsewhere. `CorralAsking` is the same gate without the
lexical plan: it denies nothing that it could ask about.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
from typing import Any

from corral.policy import (
    Action,
    Admission,
    Approval,
    ApprovalRequest,
    Denied,
    Gate,
    Label,
    Manifest,
    Manifests,
    Policy,
    Provenance,
    SecurityPolicy,
    Sinks,
    Verdict,
)

MAIL_FIELDS = {"id_": "attested", "sender": "attested", "recipients": "attested", "cc": "attested", "bcc": "attested"}
EVENT_FIELDS = {"id_": "attested", "participants": "attested"}
FILE_FIELDS = {"id_": "attested", "owner": "attested", "shared_with": "attested"}
MAILS = {"fields": {**MAIL_FIELDS, "timestamp": "attested"}, "id": ["id_"]}
EVENTS = {"fields": EVENT_FIELDS, "id": ["id_"], "names": ["title"]}
FILES = {"fields": FILE_FIELDS, "id": ["id_"], "names": ["filename"]}
CONTACTS = {"default": "attested"}
ATTESTED = {"default": "attested"}
MESSAGES = {"fields": {"sender": "attested", "recipient": "attested"}}

MAIL = ["send", "forward", "reply", "email to", "mail to", "write to", "email them", "email him", "email her"]
SHARE = ["share", "send", "give access"]
MESSAGE = ["send", "write", "post", "reply", "message", "tell", "ask", "dm"]
EVENT = ["event*", "calendar", "appointment*", "schedul*", "meeting", "remind*", "invite"]
REMOVE = ["delet*", "remov*", "cancel*", "clean*", "discard*", "erase*"]
BOOK = ["book", "reserve", "reservation*"]


def read(output: dict[str, Any] | None = None, **arguments: str) -> dict[str, Any]:
    return {"effect": "read", "output": output or {}, "arguments": arguments}


def tool(effect: str, intents: list[str] | None = None, output: Any = None, **arguments: str) -> dict[str, Any]:
    return {"effect": effect, "arguments": arguments, "intents": intents or [], "output": output or {}}


CALENDAR = {
    "create_calendar_event": tool(
        "write", EVENT, EVENTS, participants="target", title="title", description="content", location="content"
    ),
    "cancel_calendar_event": tool("destroy", REMOVE, event_id="object"),
    "reschedule_calendar_event": tool("write", output=EVENTS, event_id="object"),
    "add_calendar_event_participants": tool(
        "send", ["add", "invite"], EVENTS, event_id="object", participants="target"
    ),
    "search_calendar_events": read(EVENTS),
    "get_day_calendar_events": read(EVENTS),
    "get_current_day": read(ATTESTED),
}
SEND_MAIL = tool(
    "send", MAIL, MAILS, recipients="target", cc="target", bcc="target", subject="content", body="content",
    attachments="object",
)  # fmt: skip
SUITES: dict[str, dict[str, Any]] = {
    "workspace": {
        **CALENDAR,
        "send_email": SEND_MAIL,
        "delete_email": tool("destroy", REMOVE, email_id="object"),
        "append_to_file": tool("write", None, FILES, file_id="object", content="content"),
        "create_file": tool("write", None, FILES, content="content"),
        "delete_file": tool("destroy", REMOVE, FILES, file_id="object"),
        "share_file": tool("send", SHARE, FILES, email="target", file_id="object"),
        **dict.fromkeys(
            ("get_unread_emails", "get_sent_emails", "get_received_emails", "get_draft_emails", "search_emails"),
            read(MAILS),
        ),
        **dict.fromkeys(("search_contacts_by_name", "search_contacts_by_email"), read(CONTACTS)),
        **dict.fromkeys(("list_files", "search_files"), read(FILES)),
        "search_files_by_filename": read(FILES, filename="object"),
        "get_file_by_id": read(FILES, file_id="object"),
    },
    "travel": {
        **CALENDAR,
        "send_email": SEND_MAIL,
        "reserve_hotel": tool("commit", BOOK, hotel="target"),
        "reserve_car_rental": tool("commit", [*BOOK, "rent"], company="target"),
        "reserve_restaurant": tool("commit", BOOK, restaurant="target"),
        "get_user_information": read({"default": "attested", "private": ["*"]}),
        **dict.fromkeys(
            (
                "get_all_hotels_in_city",
                "get_all_restaurants_in_city",
                "get_all_car_rental_companies_in_city",
                "get_hotels_prices",
                "get_hotels_address",
                "get_restaurants_address",
                "get_cuisine_type_for_restaurants",
                "get_price_for_restaurants",
            ),
            read(ATTESTED),
        ),
    },
    "banking": {
        "send_money": {
            **tool(
                "commit", ["pay", "refund*", "send", "transfer"], recipient="target", amount="amount", subject="content"
            ),
            "floors": {"recipient": "directory"},
        },
        "schedule_transaction": {
            **tool("commit", ["schedul*", "recurring"], recipient="target", amount="amount", subject="content"),
            "floors": {"recipient": "directory"},
        },
        "update_scheduled_transaction": {
            **tool(
                "commit",
                ["adjust*", "update*", "change*"],
                id="object",
                recipient="target",
                amount="amount",
                subject="content",
            ),
            "floors": {"recipient": "directory"},
        },
        "update_password": tool("admin", ["password"], password="secret"),
        "update_user_info": tool(
            "write", None, None, first_name="content", last_name="content", street="content", city="content"
        ),
        "get_iban": read(ATTESTED),
        "get_balance": read(ATTESTED),
        "get_user_info": read({"default": "attested", "private": ["*"]}),
        **dict.fromkeys(
            ("get_most_recent_transactions", "get_scheduled_transactions"),
            read({"fields": dict.fromkeys(("id", "sender", "recipient", "amount", "date"), "attested")}),
        ),
        "read_file": read(file_path="object"),
    },
    "slack": {
        "get_webpage": tool("egress_read", url="target"),
        "post_webpage": tool("send", ["our website", "the website", "webpage"], url="target", content="content"),
        "send_direct_message": tool("send", MESSAGE, recipient="target", body="content"),
        "send_channel_message": tool("send", MESSAGE, channel="target", body="content"),
        "add_user_to_channel": tool("admin", ["add"], user="target", channel="target"),
        "invite_user_to_slack": tool("admin", ["invite"], user="target", user_email="target"),
        "remove_user_from_slack": tool("destroy", REMOVE, user="target"),
        "get_users_in_channel": read(ATTESTED),
        "get_channels": read(),
        "read_channel_messages": read(MESSAGES, channel="object"),
        "read_inbox": read(MESSAGES, user="object"),
    },
}
"""Reads that are not mentioned have no manifest: declared read-only by the host, untrusted in what they return."""


class Asked:
    """Notes that a person was asked, and says no."""

    asked = False

    async def decide(self, request: ApprovalRequest) -> Approval:
        self.asked = True
        return Approval(request.digest, False, "user:bench")


@functools.cache
def manifests(suite: str) -> Manifests:
    return Manifests({suite: Manifest.model_validate({"tools": SUITES[suite]})})


class CorralGate:
    """The product's gate with its provenance as a guard."""

    name = "corral"
    sinks = Sinks(lexical_plan=True, untraced=Verdict.DENY)
    _loop = asyncio.new_event_loop()

    def begin(self, ctx: Any) -> None:
        config = ctx.config
        directory = {*config["known"], *config["own"]}
        directory |= {f"@{domain}" for domain in config["domains"]} | {f"//{domain}" for domain in config["domains"]}
        self.provenance = Provenance(manifests(ctx.suite), directory=directory, sinks=self.sinks)
        self.provenance.user(ctx.prompt)
        self.person = Asked()
        rules = [SecurityPolicy(resource="tool:*", actions=["call"], id="tools")]
        self.gate = Gate(Policy(rules=rules), approver=self.person, guards=[self.provenance])

    def check(self, tool: str, args: dict[str, Any], ctx: Any) -> Any:
        resource = f"tool:{ctx.suite}/{tool}"
        arguments = {name: value for name, value in plain(args).items() if value is not None}
        action = Action(resource, "call", arguments=arguments, read_only=ctx.meta(tool)["effect"] == "read")
        self.person.asked = False

        async def effect(admission: Admission) -> None:
            admission.claim(resource, "call", arguments)

        try:
            self._loop.run_until_complete(self.gate.perform(action, effect))
        except Denied as error:
            reason = self.provenance.opinion(action)
            why = reason.reason if reason is not None else error.judgement.reason
            return importlib.import_module("__main__").Decision("ask" if self.person.asked else "deny", why)
        return "allow"

    def observe(self, tool: str, args: dict[str, Any], result: Any, text: str, ctx: Any) -> None:
        resource = f"tool:{ctx.suite}/{tool}"
        self.provenance.observe(resource, plain(result), Label.untrusted(resource), plain(args))


class CorralLexical(CorralGate):
    """The same, but for what can't be traced it asks, too."""

    name = "corral, lexical"
    sinks = Sinks(lexical_plan=True)


class CorralAsking(CorralGate):
    """The same without the lexical plan."""

    name = "corral, asking"
    sinks = Sinks()


def plain(value: Any) -> Any:
    """Models, enums and dates of the suites as JSON."""
    from pydantic_core import to_jsonable_python  # it comes with pydantic, and the bench's own place has that

    return to_jsonable_python(value, fallback=str)
