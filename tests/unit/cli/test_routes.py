"""Which routes a command acts on, and what it says of several."""

import click
import pytest

from tsync_stream.cli.jobs import what_was_filed
from tsync_stream.cli.reconcile import what_was_asked
from tsync_stream.cli.routes import by_route, chosen_routes
from tsync_stream.cli.verify import summary
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.jobs import VERIFY, Asked
from tsync_stream.state.route_state import ReconcileNeed

LISTINGS = Route("listings", "shop", "listings", "window")
SELLERS = Route("sellers", "shop", "sellers", "people")
BOTH = RouteTable([Declaration(LISTINGS), Declaration(SELLERS)])


def test_without_a_name_a_command_acts_on_all_routes() -> None:
    assert chosen_routes(BOTH, None) == [LISTINGS, SELLERS]
    assert chosen_routes(BOTH, "sellers") == [SELLERS]


def test_an_unknown_name_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(click.UsageError, match=r"no route seller\. Did you mean sellers\? The routes are: listings"):
        chosen_routes(BOTH, "seller")
    with pytest.raises(click.UsageError, match=r"no route xyz\. The routes are"):
        chosen_routes(BOTH, "xyz")


def test_results_of_several_routes_are_told_apart() -> None:
    assert by_route({"listings": "Done.\nAll is well."}) == "Done.\nAll is well."
    assert by_route({"a": "Done.\nx", "b": "Done."}) == "a:\n  Done.\n  x\nb:\n  Done."
    assert summary({"a": True, "b": True}) == "All 2 routes are equal."
    assert summary({"a": True, "b": False}) == "1 of 2 routes are equal; not equal, or not compared: b."


def test_a_job_is_filed_for_each_route() -> None:
    assert what_was_filed(VERIFY, {"listings": "ab12"}, "compares", live=1).startswith("Verify ab12 is filed. The")
    text = what_was_filed(VERIFY, {"listings": "ab12", "sellers": "cd34"}, "compares", live=1)
    assert text.startswith("Verify ab12 (listings), cd34 (sellers) are filed. The capturing replica compares")


def test_a_reconcile_of_several_routes_says_what_was_not_done() -> None:
    asked = {
        "listings": Asked("filed", ReconcileNeed("r1", "asked")),
        "sellers": Asked("open", ReconcileNeed("r2", "the first start")),
        "reviews": Asked("nothing ran"),
    }
    text = what_was_asked(asked, allow_mass_delete=False, live=1)
    assert "A reconcile is filed for listings." in text
    assert "A reconcile of sellers is already open (the first start); it also serves this request." in text
    assert "Not asked for: reviews has never run" in text
    assert "Nothing has run yet" in what_was_asked({"a": Asked("nothing ran")}, allow_mass_delete=False, live=0)
