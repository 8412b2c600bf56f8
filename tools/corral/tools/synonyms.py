"""Words that mean the same of tools: what people say, and what names and descriptions say instead.

Written for tools of offices, shops, software and homes; the words of other fields are found by their letters only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from corral.tools.words import stem

__all__ = ["synonyms_of"]

# Of each line, those before "<" stand for one another; those behind may mean one of these, but not the other way round.
# What is written with "-" is more than one word.
_LEXICON: Final = """
create add new make insert register generate < begin start open set-up put-in sign-up enter draft compose write issue
create add new < build schedule plan reserve book log record another save organise organize
list browse enumerate index all < show display see view every which who what latest recent newest any overview exist
get read fetch retrieve view open load describe detail < show see look-up look check tell what when where how about is
get read detail < details info information everything inspect status find display whats
update edit change modify set patch adjust amend < correct fix alter swap switch replace move postpone mark wrong revise
update change < increase raise lower extend should-be is-now has-new promote reschedule needs put-on
delete remove erase drop discard destroy < trash bin wipe clear cancel get-rid rid throw-away throw-out scrap stop
delete remove < for-good for-ever forever permanent vanish purge kill no-longer never shred
search find query lookup filter locate discover
send deliver submit post publish < mail email ship forward transmit reply dispatch
export download dump spreadsheet csv excel < xlsx table sheet backup print save
import upload load attach
share invite grant access permission collaborate < let show see give allow permit colleague with someone open-to pass
rename title name label < call retitle relabel another-title different-title new-name
count number total sum amount < how-many how-much many headcount quantity tally much
copy duplicate clone replicate fork
move transfer relocate put
archive store shelve < put-away file-away away old retire close keep finished expired stash past set-aside outdated
run execute launch trigger invoke start
stop end cancel terminate halt abort kill < pause disable
log history audit record journal
merge combine join unite
approve accept confirm sign < agree
reject decline deny refuse
assign delegate < give
convert transform translate
validate verify check test
install deploy < setup
subscribe follow watch
restore recover undo revert undelete
user person people member account
customer client buyer patron shopper < buy consumer
order purchase < bought buying
invoice bill < charge owe
payment money transaction charge < pay paid
shipment parcel package delivery consignment < ship courier tracking carrier freight
event meeting appointment < calendar agenda invite party birthday gathering
calendar agenda schedule
email mail message < inbox mailbox letter
message chat < dm text post
contact < phone address-book acquaintance number
task todo chore assignment < reminder to-do-list checklist
issue ticket bug case < support defect complaint helpdesk incident problem
project < initiative undertaking
repository repo < git codebase git-repo
pull-request pr merge-request < review patch merge
branch < git
commit changeset
build ci pipeline compile < compilation job workflow ci-run
release version < publish tag ship
survey poll questionnaire < feedback opinion think
dashboard chart graph < kpi metric chart
alert alarm notification warning < page
playlist < song music track mix tune listen
song music track audio
photo picture image pic snapshot < shot camera selfie
video movie film clip
recipe dish < cook bake meal cookbook ingredient food
workout exercise training < gym fitness run jog session sport
booking reservation < reserve table book guest
flight plane < fly airline departure airport air arrival
hotel accommodation lodging < stay inn room motel hostel guesthouse place-to-stay
ledger book < account-book bookkeeping accounting journal account
budget spending < spend cost allowance expense limit
contract agreement < deal sign
employee staff worker colleague < hire headcount work staff-member team promote
payslip salary paycheck wage paystub < pay payroll earning
file document attachment
folder directory
table database
weather forecast temperature
location place address map
product item article goods
report statement
comment remark note annotation
tag label
password secret credential
website page url site link
vehicle car
review rating
"""
_NEAR: Final = 0.75
_HINT: Final = 0.5


def synonyms_of(word: str) -> Mapping[str, float]:
    """The stems that may stand for a stem, and how likely each does: from 0 to 1."""
    return _table().get(word, {})


@cache
def _table() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for line in _LEXICON.strip().splitlines():
        near, _, hints = line.partition(" < ")
        stems = _stems(near)
        for word, share in (*((each, _NEAR) for each in stems), *((each, _HINT) for each in _stems(hints))):
            known = found.setdefault(word, {})
            for other in stems:
                if other != word:
                    known[other] = max(known.get(other, 0.0), share)
    return found


def _stems(words: str) -> list[str]:
    return [stem(word.replace("-", "")) for word in words.split()]
