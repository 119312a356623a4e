"""Docker's filters: what they match, and which are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from linkspan.engine import filters
from linkspan.errors import InvalidRequest

NOW = 1_700_000_000.0


def test_an_unknown_key_is_refused_naming_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="invalid filter 'colour'; use one of id, name"):
        filters.check_keys({"colour": ["red"]}, ("name", "id"))


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        ({}, True),
        ({"label": ["tier"]}, True),
        ({"label": ["tier=front"]}, True),
        ({"label": ["tier=back"]}, False),
        ({"label": ["tier=front", "owner"]}, False),
        ({"label": ["empty"]}, True),
        ({"label": ["empty="]}, True),
        ({"label!": ["tier=back"]}, True),
        ({"label!": ["owner", "tier"]}, False),
    ],
)
def test_labels_must_all_match(wanted: dict[str, list[str]], matches: bool) -> None:
    assert filters.matches_labels({"tier": "front", "empty": ""}, wanted) == matches


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [([], True), (["we"], True), (["^web$"], True), (["^eb"], False), (["db", "b$"], True), (["w.b"], True)],
)
def test_names_are_regular_expressions_and_alternatives(wanted: list[str], matches: bool) -> None:
    assert filters.matches_text(["web"], wanted) == matches


def test_a_name_that_is_no_regular_expression_is_taken_literally() -> None:
    assert filters.matches_text(["a(b"], ["(b"])
    assert not filters.matches_text(["ab"], ["(b"])


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("T", True), ("false", False), ("0", False)])
def test_booleans_have_dockers_spellings(text: str, value: bool) -> None:
    assert filters.boolean({"dangling": [text]}, "dangling") is value


def test_a_boolean_that_is_none_is_refused() -> None:
    assert filters.boolean({}, "dangling") is None
    with pytest.raises(InvalidRequest, match="dangling=maybe"):
        filters.boolean({"dangling": ["maybe"]}, "dangling")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1699999999", NOW - 1),
        ("1699999999.5", NOW - 0.5),
        ("-5", -5.0),
        ("10m", NOW - 600),
        ("1h30m", NOW - 5400),
        ("1.5h", NOW - 5400),
        ("250ms", NOW - 0.25),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T22:13:20.123456789Z", NOW + 0.123456),
        ("2023-11-14T23:13:20+01:00", NOW),
    ],
)
def test_moments_come_as_seconds_dates_and_durations(text: str, expected: float) -> None:
    assert filters.moment(text, NOW) == pytest.approx(expected)


def test_a_date_alone_is_its_midnight() -> None:
    assert filters.moment("2026-01-31", NOW) == datetime(2026, 1, 31).timestamp()
    assert filters.moment("2026-01-31T00:00:00Z", NOW) == datetime(2026, 1, 31, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("text", ["", "soon", "10x", "m", "nan", "inf", "1e5", "10 m", "٣"])
def test_a_moment_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid time"):
        filters.moment(text, NOW)


def test_until_is_optional() -> None:
    assert filters.until({}, NOW) is None
    assert filters.until({"until": ["1m"]}, NOW) == NOW - 60
