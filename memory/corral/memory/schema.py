"""The shape of the database, and how older shapes become it."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from corral.memory.errors import StoreCorrupt, StoreTooNew

__all__ = ["SCHEMA", "migrate"]

APPLICATION = 0x43525241
"""Written into the file's header (SQLite's `application_id`), to tell a store of ours from any other database."""

# `item.space` is the key of `space`, a word such as "s17". mem0 keeps its own `history` and `messages` tables in the
# same file.
_FIRST = """
create table migration(version integer primary key, at real not null);
create table space(
    id integer primary key, key text generated always as ('s' || id) virtual,
    user text not null, agent text not null, epoch integer not null default 0, unique(user, agent));
create table embedder(id integer primary key, name text not null unique, dim integer not null);
create table checkpoint(space text primary key, item integer not null);
create table item(
    id integer primary key, uid text not null unique, space text not null, kind text not null,
    session text, run text, actor text not null, at real not null, text text not null, hash blob not null,
    label text not null, integrity integer not null, expires real, replaced_by text,
    cites text not null default '[]', extra text not null default '{}', embedder integer not null, vector blob);
create index item_space on item(space, id);
create index item_session on item(space, session, id);
create index item_hash on item(space, hash);
create index item_embedder on item(embedder);
create virtual table trusted_text using fts5(
    space, text, content='item', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2');
insert into trusted_text(trusted_text, rank) values('rank', 'bm25(0.0, 1.0)');
create virtual table quarantined_text using fts5(
    space, text, content='item', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2');
insert into quarantined_text(quarantined_text, rank) values('rank', 'bm25(0.0, 1.0)')
"""

# The index says which rows have a word and nothing more (see `lexical.index_text`): scores are reckoned from that.
_SECOND = """
drop table trusted_text;
drop table quarantined_text;
drop index item_session;
alter table item add column words integer not null default 0;
create virtual table word_index using fts5(
    words, content='', columnsize=0, detail=none, tokenize='porter ascii');
update item set words = count_words(text);
insert into word_index(rowid, words) select id, index_words(space, integrity, text) from item
"""

# When a model was of no help with what comes after the checkpoint: it is not asked again at once, by any process.
_THIRD = "alter table checkpoint add column failed real"

_MIGRATIONS = (_FIRST, _SECOND, _THIRD)
SCHEMA = len(_MIGRATIONS)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the database to `SCHEMA`, all or nothing; several processes may try at once.

    Raises:
        StoreTooNew: It is beyond `SCHEMA`.
        StoreCorrupt: It is a database of something else.
    """
    if _version(connection, path) == SCHEMA:
        return
    connection.execute("begin immediate")
    try:
        for version in range(_version(connection, path) + 1, SCHEMA + 1):
            for statement in _MIGRATIONS[version - 1].split(";"):
                connection.execute(statement)
            connection.execute("insert into migration values(?, ?)", (version, time.time()))
        connection.execute(f"pragma application_id = {APPLICATION}")
        connection.execute(f"pragma user_version = {SCHEMA}")
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("pragma user_version").fetchone()[0])
    application = int(connection.execute("pragma application_id").fetchone()[0])
    foreign = connection.execute("select count(*) from sqlite_master").fetchone()[0] if not application else 0
    if foreign or application not in (0, APPLICATION):
        raise StoreCorrupt(path, "it is a database of another program")
    if version > SCHEMA:
        raise StoreTooNew(path, version, SCHEMA)
    return version
