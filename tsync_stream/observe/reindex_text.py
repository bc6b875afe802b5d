"""An open reindex in words, for health, `status`, the command and the dashboard alike. Pure."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from tsync_stream.state.generations import Generations, Reindex


def describe_reindex(document: Generations) -> str:
    """What an open reindex does, and what happens next. Raises `ValueError` if none is open."""
    reindex = document.reindex
    if reindex is None:
        raise ValueError(f"no reindex is open in {document}")
    new, old = (_collection(document, number) for number in (reindex.number, reindex.before))
    describe = _before_shown if reindex.phase in _BEFORE_SHOWN else _once_shown
    return describe(document, reindex, new, old)


_BEFORE_SHOWN = ("building", "verifying", "carrying", "swapping", "failed")


def _before_shown(document: Generations, reindex: Reindex, new: str, old: str) -> str:
    match reindex.phase:
        case "building":
            then = f"Then it is compared with MongoDB and, if it is equal, shown as {document.target}"
            return f"{new} is being filled; searches find {old} meanwhile. {then}"
        case "verifying":
            again = "" if reindex.rounds < 2 else f" for the {_ordinal(reindex.rounds)} time"
            return f"{new} is compared with MongoDB{again}; searches find {old} until it is equal"
        case "carrying":
            return f"what belongs to {old}, such as synonyms, is carried over to {new}, which is shown then"
        case "swapping":
            return f"the alias {document.target} is about to show {new} instead of {old}"
        case _:
            return f"{new} is not shown: {_sentence(reindex.error)} {what_to_do(document)}"


def _once_shown(document: Generations, reindex: Reindex, new: str, old: str) -> str:
    alias, options = document.target, reindex.options
    match reindex.phase:
        case "watching":
            until = _clock(reindex.since + timedelta(seconds=options.watch_s))
            return f"{alias} shows {new}; until {until} it goes back to {old} by itself if anything is wrong with {new}"
        case "kept":
            until = _clock(reindex.since + timedelta(seconds=options.keep_s))
            back = f"`tsync reindex {document.route} --rollback` shows it again"
            return f"{alias} shows {new}; {old} is kept up to date until {until}: {back}"
        case "rolling back":
            why = f": {reindex.error}" if reindex.error else ""
            return f"{alias} is about to show {old} again{why}"
        case _:
            leaving = ", ".join(each.collection for each in document.removing) or "nothing"
            return f"{leaving} is about to be deleted; {alias} shows {document.shown.collection}"


def what_to_do(document: Generations) -> str:
    """What a person can do about a reindex that has failed."""
    command = f"tsync reindex {document.route}"
    return f"`{command} --retry` verifies it again, and `{command} --cancel` removes it"


def describe_last(document: Generations) -> str:
    """How the last reindex of a route ended; "" if there was none."""
    last = document.last
    if last is None:
        return ""
    after = f"{(last.ended - last.began).total_seconds():.0f} s"
    words = {
        "done": f"{document.target} shows {document.shown.collection} with {last.documents} documents",
        "cancelled": "the new collection is deleted",
        "rolled back": f"{document.target} shows {document.shown.collection} again, and the new collection is deleted",
        "failed": "the new collection is deleted",
    }
    why = f" ({last.reason})" if last.reason else ""
    refused = f"; {last.refused} documents are refused" if last.refused else ""
    return f"{last.result} after {after}{why}: {words[last.result]}{refused}"


def reindex_json(document: Generations) -> dict[str, Any]:
    """A route's reindex for machines; times are `datetime`, everything else is JSON."""
    reindex, last = document.reindex, document.last
    return {
        "route": document.route,
        "target": document.target,
        "shown": document.shown.collection,
        "reindex": None
        if reindex is None
        else {
            "id": reindex.id,
            "phase": reindex.phase,
            "since": reindex.since,
            "filed_at": reindex.filed_at,
            "collection": _collection(document, reindex.number),
            "before": _collection(document, reindex.before),
            "wish": reindex.wish,
            "rounds": reindex.rounds,
            "error": reindex.error or None,
            "text": describe_reindex(document),
        },
        "last": None if last is None else asdict(last),
    }


def needs_person(reindex: Reindex) -> bool:
    """Whether it goes on only once a person has acted."""
    return reindex.phase == "failed" and reindex.wish is None


def _collection(document: Generations, number: int) -> str:
    kept = document.generation(number)
    if kept is not None:
        return kept.collection
    return next((each.collection for each in document.removing if each.number == number), f"generation {number}")


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
