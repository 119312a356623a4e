"""Elements as nft text, and back from nft's listing. No kernel."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.kernel import tables
from linkspan.kernel.nft import problems_in
from linkspan.kernel.state import Element


def element(*item: str, value: tuple[str, ...] = (), set_name: str = "pub4") -> Element:
    return Element(family="inet", table="linkspan", set=set_name, item=item, value=value)


@pytest.mark.parametrize(
    ("given_element", "text"),
    [
        (element("br-one", set_name="bridges"), 'add element inet linkspan bridges { "br-one" }'),
        (element("10.0.0.0/8"), 'add element inet linkspan pub4 { "10.0.0.0"/8 }'),
        (element("fd00::/64"), 'add element inet linkspan pub4 { "fd00::"/64 }'),
        (
            element("80-90", "10.0.0.1", "tcp", value=("1.2.3.4",)),
            'add element inet linkspan pub4 { "80"-"90" . "10.0.0.1" . "tcp" : "1.2.3.4" }',
        ),
        (
            element("tcp", "10.0.0.1", "80", value=("1.2.3.4", "8080")),
            'add element inet linkspan pub4 { "tcp" . "10.0.0.1" . "80" : "1.2.3.4" . "8080" }',
        ),
        (element("br-one", value=("goto same",)), 'add element inet linkspan pub4 { "br-one" : goto same }'),
        (element("accept", value=("accept",)), 'add element inet linkspan pub4 { "accept" : accept }'),
    ],
)
def test_every_part_is_quoted(given_element: Element, text: str) -> None:
    assert tables.add_element(given_element) == text


@pytest.mark.parametrize(
    "part",
    ["", '"', "a b", 'x" }; flush ruleset; #', "a\nb", "$x", "a;b", "{", "*", "10.0.0.0/8/8", "goto x", "ä", "x" * 46],
)
def test_a_part_that_could_leave_its_quotes_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of an element"):
        tables.add_element(element(part))
    with pytest.raises(ValueError, match="cannot be part of an element"):
        tables.delete_element(element(part))


@pytest.mark.parametrize("verdict", ["goto x; drop", "jump 1x", "goto  x", "continue everything", 'goto "x"'])
def test_a_verdict_that_is_none_is_refused(verdict: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of an element"):
        tables.add_element(element("br-one", value=(verdict,)))


@pytest.mark.parametrize("name", ["", "a b", "x;", "1x", "x" * 40, 'x"'])
def test_a_set_or_table_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a table or a set"):
        tables.add_element(element("br-one", set_name=name))


@given(st.lists(st.text(min_size=1, max_size=50), min_size=1, max_size=3))
def test_no_part_ever_brings_a_command_of_its_own(parts: list[str]) -> None:
    try:
        text = tables.add_element(element(*parts))
    except ValueError:
        return
    assert "\n" not in text
    assert ";" not in text
    assert text.count('"') % 2 == 0
    assert text.count("{") == text.count("}") == 1


@pytest.mark.parametrize(
    ("entry", "item", "value"),
    [
        ("br-one", ("br-one",), ()),
        (80, ("80",), ()),
        ({"prefix": {"addr": "10.0.0.0", "len": 24}}, ("10.0.0.0/24",), ()),
        ({"range": [80, 90]}, ("80-90",), ()),
        ({"concat": ["tcp", "FD00:0::1", 80]}, ("tcp", "fd00::1", "80"), ()),
        ([{"concat": ["br-one", "br-one"]}, {"goto": {"target": "same"}}], ("br-one", "br-one"), ("goto same",)),
        ([{"concat": [{"range": [80, 90]}, "10.0.0.1"]}, "1.2.3.4"], ("80-90", "10.0.0.1"), ("1.2.3.4",)),
        ({"elem": {"val": "br-one", "counter": {"packets": 1, "bytes": 1}}}, ("br-one",), ()),
    ],
)
def test_an_entry_of_a_listing_is_read(entry: object, item: tuple[str, ...], value: tuple[str, ...]) -> None:
    assert tables.element_of(entry) == (item, value)


@pytest.mark.parametrize("entry", [{"set": [1]}, True, None, {"prefix": 3}, {"a": 1, "b": 2}])
def test_an_entry_that_we_never_write_is_left_alone(entry: object) -> None:
    with pytest.raises(tables.Unknown):
        tables.element_of(entry)


def test_counters_and_handles_are_no_part_of_a_tables_shape() -> None:
    first = [("rule", {"handle": 3, "chain": "c", "expr": [{"counter": {"packets": 0, "bytes": 0}}]})]
    later = [("rule", {"handle": 9, "chain": "c", "expr": [{"counter": {"packets": 5, "bytes": 900}}]})]
    other = [("rule", {"handle": 3, "chain": "d", "expr": [{"counter": {"packets": 0, "bytes": 0}}]})]
    assert tables.live_table(first) == tables.live_table(later)
    assert tables.live_table(first) != tables.live_table(other)


def test_an_error_names_the_command_that_it_is_about() -> None:
    words = (
        "/proc/self/fd/9:5:30-36: Error: Could not process rule: File exists\nadd element\n    ^^^\n"
        "/proc/self/fd/9:6:30-36: Error: element does not exist\n"
        "/proc/self/fd/9:1:1-6: Error: No such file or directory; did you mean set x\n"
    )
    found = problems_in(words, ("one", "a table\nof three\nlines", "two", "three"))
    assert [(item.command, item.code) for item in found] == [(0, errno.ENOENT), (2, errno.EEXIST), (3, errno.ENOENT)]


def test_words_without_a_place_are_laid_at_the_first_command() -> None:
    (found,) = problems_in("Error: syntax error, unexpected newline\n", ("one",))
    assert (found.command, found.code) == (0, errno.EINVAL)
    assert "syntax error" in found.reason
