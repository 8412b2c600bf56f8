"""The rows: episodes and facts in one table, with their words and vectors."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace

from corral.memory.database import Database
from corral.memory.labels import pack_label
from corral.memory.lexical import fingerprint, index_text
from corral.memory.row import COLUMNS, Row, read_row
from corral.memory.scope import Scope
from corral.memory.turn import Pending
from corral.policy import Integrity

__all__ = ["Store"]

_INSERT = (
    "insert into item(uid, space, kind, session, run, actor, at, text, hash, label, integrity, expires, replaced_by,"
    " cites, extra, embedder, vector, words) values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Store:
    """What is asked of the database, in the room's terms; every method is one transaction, or joins the caller's."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._spaces: dict[tuple[str, str], str] = {}

    def space(self, scope: Scope) -> str:
        """The key of the namespace of `scope`, made if it is new."""
        name = (scope.user, scope.agent)
        if name not in self._spaces:
            with self.database.writing() as connection:
                connection.execute("insert or ignore into space(user, agent) values(?, ?)", name)
                row = connection.execute("select key from space where user = ? and agent = ?", name).fetchone()
            self._spaces[name] = row[0]
        return self._spaces[name]

    def embedder(self, name: str, dim: int) -> int:
        """The number under which vectors of this embedder are stored; another dimension is another embedder."""
        with self.database.writing() as connection:
            connection.execute("insert or ignore into embedder(name, dim) values(?, ?)", (f"{name}/{dim}", dim))
            return connection.execute("select id from embedder where name = ?", (f"{name}/{dim}",)).fetchone()[0]

    def add(self, space: str, rows: Iterable[Row], embedder: int) -> None:
        with self.database.writing() as connection:
            for row in rows:
                self._insert(connection, space, row, embedder)

    def add_new(self, space: str, rows: Iterable[Row], embedder: int) -> list[str]:
        """Add the rows whose ids the store does not have, in any namespace, and return these ids."""
        added: list[str] = []
        with self.database.writing() as connection:
            for row in rows:
                if connection.execute("select 1 from item where uid = ?", (row.uid,)).fetchone() is None:
                    self._insert(connection, space, row, embedder)
                    added.append(row.uid)
        return added

    def _insert(self, connection: sqlite3.Connection, space: str, row: Row, embedder: int) -> None:
        words, count = _words(space, row)
        place = connection.execute(
            _INSERT,
            (
                *(row.uid, space, row.kind, row.session, row.run, row.actor, row.at, row.text),
                *(fingerprint(row.text), pack_label(row.label), int(row.label.integrity), row.expires),
                *(row.replaced_by, json.dumps(row.cites) if row.cites else "[]"),
                *(json.dumps(row.extra) if row.extra else "{}", embedder, row.vector, count),
            ),
        ).lastrowid
        connection.execute("insert into word_index(rowid, words) values(?, ?)", (place, words))

    def replace(self, space: str, row: Row, embedder: int) -> None:
        """Put `row` in the place of the one with its `uid`, keeping the place and what only we store of it."""
        with self.database.writing() as connection:
            found = self.get(space, [row.uid])
            if not found:
                return
            (old,) = found
            _forget_words(connection, space, old)
            words, count = _words(space, replace(old, text=row.text))
            connection.execute(
                "update item set text = ?, hash = ?, extra = ?, embedder = ?, vector = coalesce(?, vector),"
                " expires = ?, words = ? where id = ?",
                (
                    *(row.text, fingerprint(row.text), json.dumps(row.extra), embedder),
                    *(row.vector, row.expires, count, old.id),
                ),
            )
            connection.execute("insert into word_index(rowid, words) values(?, ?)", (old.id, words))
            _touch(connection, space)

    def supersede(self, space: str, old: str, new: str) -> None:
        """Hide `old`, which `new` replaces; it stays in the history."""
        with self.database.writing() as connection:
            connection.execute("update item set replaced_by = ? where uid = ? and space = ?", (new, old, space))
            _touch(connection, space)

    def delete(self, space: str, uids: Iterable[str]) -> list[Row]:
        """Take rows out of the table and the index, and return what they were."""
        with self.database.writing() as connection:
            gone = self.get(space, uids)
            for row in gone:
                _forget_words(connection, space, row)
                connection.execute("delete from item where id = ?", (row.id,))
            if gone:
                _touch(connection, space)
                # SQLite gives the places at the end out again: what comes there next was not consolidated.
                connection.execute("update checkpoint set item = min(item, (select coalesce(max(id), 0) from item))")
        return gone

    def get(self, space: str, uids: Iterable[str]) -> list[Row]:
        """The rows with these ids that there are, oldest first."""
        with self.database.reading() as connection:
            found = connection.execute(
                f"select {COLUMNS} from item where space = ? and uid in (select value from json_each(?)) order by id",
                (space, json.dumps(list(uids))),
            )
            return [read_row(values) for values in found]

    def anywhere(self, uid: str, kind: str) -> tuple[str, Row] | None:
        """The row with this id and its space; for mem0, which asks by id alone."""
        with self.database.reading() as connection:
            found = connection.execute(
                f"select space, {COLUMNS} from item where uid = ? and kind = ?", (uid, kind)
            ).fetchone()
            return found and (found[0], read_row(found[1:]))

    def at(self, ids: Sequence[int]) -> dict[int, Row]:
        """The rows at these places, by place."""
        with self.database.reading() as connection:
            found = connection.execute(
                f"select {COLUMNS} from item where id in (select value from json_each(?))", (json.dumps(list(ids)),)
            )
            return {row.id: row for row in map(read_row, found)}

    def vectors(self, ids: Sequence[int], embedder: int) -> dict[int, bytes]:
        """The vectors at these places that are of this embedder, by place."""
        with self.database.reading() as connection:
            found = connection.execute(
                "select id, vector from item where id in (select value from json_each(?)) and embedder = ?",
                (json.dumps(list(ids)), embedder),
            )
            return {place: vector for place, vector in found if vector is not None}

    def page(self, space: str, after: int = 0, limit: int = 500, kinds: Sequence[str] | None = None) -> list[Row]:
        """The next `limit` rows past the place `after`; -1 is all of them."""
        with self.database.reading() as connection:
            found = connection.execute(
                f"select {COLUMNS} from item where space = ? and id > ?"
                " and (? is null or kind in (select value from json_each(?))) order by id limit ?",
                (space, after, None if kinds is None else 1, json.dumps(kinds or ()), limit),
            )
            return [read_row(values) for values in found]

    def checkpoint(self, space: str) -> int:
        """The place up to which episodes were consolidated."""
        with self.database.reading() as connection:
            found = connection.execute("select item from checkpoint where space = ?", (space,)).fetchone()
            return found[0] if found else 0

    def set_checkpoint(self, space: str, place: int) -> None:
        with self.database.writing() as connection:
            connection.execute(
                "insert or replace into checkpoint(space, item)"
                " values(?, min(?, (select coalesce(max(id), 0) from item)))",
                (space, place),
            )

    def note_failure(self, space: str, at: float) -> None:
        """A model was of no help with what comes after the checkpoint."""
        with self.database.writing() as connection:
            connection.execute(
                "insert into checkpoint values(?, 0, ?) on conflict(space) do update set failed = excluded.failed",
                (space, at),
            )

    def pending(self, space: str, most: int) -> Pending:
        """What there is after the checkpoint, among the oldest `most` episodes."""
        with self.database.reading() as connection:
            found = connection.execute("select item, failed from checkpoint where space = ?", (space,)).fetchone()
            after, failed = found or (0, None)
            seen, turns = connection.execute(
                # A label is JSON; one that has a memory among its sources is an echo.
                "select count(*), coalesce(sum(integrity > 0 and label not like '%\"memory:%'), 0) from"
                " (select integrity, label from item where space = ? and id > ? and kind = 'episode'"
                " order by id limit ?)",
                (space, after, most),
            ).fetchone()
        return Pending(turns, seen == most, failed)

    def citing(self, space: str, uids: Iterable[str], after: int) -> list[Row]:
        """Facts in force, past the place `after`, that cite one of these."""
        with self.database.reading() as connection:
            found = connection.execute(
                f"select {COLUMNS} from item where space = ? and id > ? and kind = 'fact' and replaced_by is null and"
                " exists(select 1 from json_each(cites) where value in (select value from json_each(?))) order by id",
                (space, after, json.dumps(list(uids))),
            )
            return [read_row(values) for values in found]

    def stale(self, embedder: int, limit: int) -> list[tuple[int, str, str]]:
        """Place, space and text of rows whose vector is of another embedder."""
        with self.database.reading() as connection:
            return connection.execute(
                # Not "is not", which would read the whole table to find nothing.
                "select id, space, text from item where embedder < ? or embedder > ? limit ?",
                (embedder, embedder, limit),
            ).fetchall()

    def set_vectors(self, vectors: Iterable[tuple[int, bytes]], embedder: int) -> None:
        with self.database.writing() as connection:
            connection.executemany(
                "update item set vector = ?, embedder = ? where id = ?",
                [(vector, embedder, place) for place, vector in vectors],
            )

    def touch(self, spaces: Iterable[str]) -> None:
        """Let every process read these spaces anew."""
        with self.database.writing() as connection:
            for space in spaces:
                _touch(connection, space)

    def counts(self, space: str | None, embedder: int) -> dict[str, int]:
        """How many rows of each sort there are, in one namespace or in all; stale are those of another embedder."""
        with self.database.reading() as connection:
            values = connection.execute(
                "select coalesce(sum(kind = 'episode'), 0), coalesce(sum(kind = 'fact'), 0),"
                " coalesce(sum(replaced_by is not null), 0), coalesce(sum(integrity = 0), 0),"
                " coalesce(sum(embedder <> ?), 0), count(distinct session), count(distinct space)"
                " from item where ? is null or space = ?",
                (embedder, space, space),
            ).fetchone()
        return dict(
            zip(
                ("episodes", "facts", "superseded", "quarantined", "stale", "sessions", "namespaces"),
                values,
                strict=True,
            )
        )

    def alike(self, space: str, text: str, kind: str) -> str | None:
        """The id of a memory in force that says the same as `text`, letter case and spacing aside."""
        with self.database.reading() as connection:
            found = connection.execute(
                "select uid from item where space = ? and hash = ? and kind = ? and replaced_by is null",
                (space, fingerprint(text), kind),
            ).fetchone()
            return found and found[0]

    def having(self, word: str, after: int) -> list[int]:
        """The places past `after`, growing, of rows with a word of the index, in any of its forms."""
        with self.database.reading() as connection:
            found = connection.execute(
                "select rowid from word_index where word_index match ? and rowid > ?", (f'"{word}"', after)
            )
            return [place for (place,) in found]


def _words(space: str, row: Row) -> tuple[str, int]:
    return index_text(space, row.label.integrity > Integrity.UNTRUSTED, row.text)


def _forget_words(connection: sqlite3.Connection, space: str, row: Row) -> None:
    # The index keeps no text: it is told which words to take out.
    connection.execute(
        "insert into word_index(word_index, rowid, words) values('delete', ?, ?)", (row.id, _words(space, row)[0])
    )


def _touch(connection: sqlite3.Connection, space: str) -> None:
    connection.execute("update space set epoch = epoch + 1 where key = ?", (space,))
