from __future__ import annotations

import pytest

from linkspan.cli import values
from linkspan.cli.failure import UsageError
from linkspan.cli.grammar import Command, Option, Parsed, parse
from linkspan.cli.main import main
from linkspan.cli.suggest import distance, near_misses
from linkspan.cli.tree import ALIASES, COMMANDS, GROUPS, load, resolve


def run(*words: str) -> Parsed:
    return parse(load("container run"), "run", list(words))


def test_short_options_may_be_joined() -> None:
    parsed = run("-td", "busybox")
    assert parsed.flag("tty")
    assert parsed.flag("detach")
    assert parsed.words == ["busybox"]


def test_the_last_of_joined_options_takes_the_rest_as_its_value() -> None:
    assert run("-iteFOO=1", "busybox").texts("env") == ["FOO=1"]
    assert run("-e=FOO=1", "busybox").texts("env") == ["FOO=1"]
    assert run("-it", "-e", "FOO=1", "busybox").texts("env") == ["FOO=1"]


@pytest.mark.parametrize("words", [("--name=web",), ("--name", "web")])
def test_a_long_option_takes_its_value_after_a_blank_or_an_equals_sign(words: tuple[str, ...]) -> None:
    assert run(*words, "busybox").text("name") == "web"


def test_switches_take_a_value_only_after_an_equals_sign() -> None:
    assert not run("--rm=false", "busybox").flag("rm")
    assert run("--rm", "busybox").flag("rm")
    assert not run("-t=false", "busybox").flag("tty")
    assert run("--sig-proxy=0", "busybox").flag("sig-proxy") is False


def test_run_stops_at_the_image() -> None:
    parsed = run("--name", "web", "busybox", "sh", "-c", "true", "--rm", "--help")
    assert parsed.words == ["busybox", "sh", "-c", "true", "--rm", "--help"]
    assert not parsed.flag("rm")
    assert not parsed.help


def test_other_commands_take_options_anywhere() -> None:
    parsed = parse(load("container rm"), "rm", ["a", "-f", "b"])
    assert parsed.words == ["a", "b"]
    assert parsed.flag("force")


def test_two_dashes_end_the_options() -> None:
    assert parse(load("container rm"), "rm", ["--", "-f"]).words == ["-f"]
    assert run("--", "busybox", "--").words == ["busybox", "--"]


def test_a_single_dash_is_a_word() -> None:
    assert parse(load("container cp"), "cp", ["-", "box:/"]).words == ["-", "box:/"]


def test_net_is_another_name_of_network() -> None:
    assert run("--net=container:web", "--network", "other", "busybox").texts("network") == ["container:web", "other"]


def test_h_is_the_host_name_in_run_and_help_elsewhere() -> None:
    assert run("-h", "box", "busybox").text("hostname") == "box"
    assert parse(load("container ls"), "ps", ["-h"]).help


def test_help_wins_over_mistakes() -> None:
    assert parse(load("network create"), "network create", ["--nonsense", "--help"]).help


def test_values_split_at_commas_only_where_docker_does() -> None:
    parsed = parse(load("network create"), "network create", ["--subnet", "a,b", "--subnet=c", "--label", "x=1,2", "n"])
    assert parsed.texts("subnet") == ["a", "b", "c"]
    assert parsed.texts("label") == ["x=1,2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--nonsense", "busybox"), "unknown flag: --nonsense\nSee 'linkspan run --help'."),
        (("-Z", "busybox"), "unknown shorthand flag: 'Z' in -Z\nSee 'linkspan run --help'."),
        (("--name",), "flag needs an argument: --name\nSee 'linkspan run --help'."),
        (("-e",), "flag needs an argument: 'e' in -e\nSee 'linkspan run --help'."),
        (("--memory", "x", "busybox"), 'invalid argument "x" for "-m, --memory" flag: invalid size: \'x\''),
        (("--cpus", "x", "busybox"), 'invalid argument "x" for "--cpus" flag: failed to parse x as a rational number'),
        (("--rm=maybe", "busybox"), 'invalid argument "maybe" for "--rm" flag: parsing "maybe": invalid syntax'),
        (("--stop-timeout", "1.5", "busybox"), 'invalid argument "1.5" for "--stop-timeout" flag'),
    ],
)
def test_a_bad_flag_is_named_with_status_125(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(*words)
    assert caught.value.message.startswith(message)
    assert caught.value.status == 125


def test_a_misspelt_flag_is_answered_with_the_near_one() -> None:
    with pytest.raises(UsageError, match="did you mean --hostname"):
        run("--hostnam", "x", "busybox")


@pytest.mark.parametrize(
    ("words", "needs"),
    [
        (["run"], "requires at least 1 argument"),
        (["exec", "box"], "requires at least 2 arguments"),
        (["network", "create"], "requires 1 argument"),
        (["network", "ls", "x"], "accepts no arguments"),
        (["tag", "a"], "requires 2 arguments"),
        (["network", "create", "a", "b"], "requires 1 argument"),
    ],
)
def test_a_wrong_number_of_words_fails_with_status_1(
    words: list[str], needs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    said = capsys.readouterr().err
    assert needs in said
    assert "Usage:  linkspan" in said


def test_an_unknown_command_is_answered_with_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["netwrok"]) == 1
    said = capsys.readouterr().err
    assert "linkspan: 'netwrok' is not a linkspan command." in said
    assert "    linkspan network" in said
    assert main(["network", "crate"]) == 1
    assert "linkspan network create" in capsys.readouterr().err


def test_a_group_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["network"]) == 0
    assert "Usage:  linkspan network COMMAND" in capsys.readouterr().out
    assert main([]) == 0
    assert "Main commands:" in capsys.readouterr().out


def test_every_alias_leads_to_a_command() -> None:
    assert set(ALIASES.values()) <= set(COMMANDS)
    assert resolve(["ps", "-a"]) == ("container ls", "ps", ["-a"])
    assert resolve(["container", "run", "x"]) == ("container run", "container run", ["x"])
    assert resolve(["network"]) == ("network", "network", [])
    assert resolve(["plan", "container", "run", "x"]) == ("plan run", "plan container run", ["x"])
    assert not set(GROUPS) & set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_no_command_has_two_options_of_one_name(path: str) -> None:
    options = load(path).options
    longs = [name for option in options for name in (option.name, *option.aliases)]
    shorts = [option.short for option in options if option.short]
    assert len(longs) == len(set(longs))
    assert len(shorts) == len(set(shorts))


def test_an_option_that_may_be_repeated_starts_empty_each_time() -> None:
    command = Command(lambda call: 0, options=(Option("x", "list", ""),))
    assert parse(command, "t", ["--x", "1", "--x", "2"]).texts("x") == ["1", "2"]
    assert parse(command, "t", ["--x", "3"]).texts("x") == ["3"]
    assert parse(command, "t", []).texts("x") == []


def test_near_misses_come_nearest_first() -> None:
    assert distance("netwrok", "network") == 1
    assert distance("", "abc") == 3
    assert near_misses("inspekt", ["inspect", "info", "run"]) == ["inspect"]
    assert near_misses("zzz", ["inspect", "run"]) == []


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512m", 512 << 20),
        ("1.5g", 3 << 29),
        ("64KiB", 65536),
        ("10", 10),
        ("1kb", 1024),
        ("2B", 2),
        ("-1", -1),
        ("1t", 1 << 40),
    ],
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert values.size(text) == size


@pytest.mark.parametrize("text", ["", "m", "1x", "1.2.3m", "--1", "1 2m", "٣m"])
def test_bad_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid size"):
        values.size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1h30m", 5400), ("250ms", 0.25), ("1m0.5s", 60.5), ("0", 0)]
)
def test_durations_are_written_as_in_go(text: str, seconds: float) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "1x", "s", "1h-2m"])
def test_bad_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        values.duration(text)


def test_cpus_are_exact() -> None:
    assert values.billionths("1.5") == 1_500_000_000
    assert values.billionths("0.000000001") == 1
    with pytest.raises(ValueError, match="too precise"):
        values.billionths("0.0000000001")


@pytest.mark.parametrize(
    ("text", "unix"),
    [
        ("2026-11-23T18:27:14Z", 1795458434.0),
        ("2026-11-23T18:27:14.5Z", 1795458434.5),
        ("2026-11-23T19:27:14+01:00", 1795458434.0),
        ("1970-01-01T00:00:00Z", 0.0),
        ("2000-02-29T12:00Z", 951825600.0),
    ],
)
def test_times_are_read_as_rfc_3339(text: str, unix: float) -> None:
    assert values.moment(text) == unix


def test_a_time_may_be_a_unix_time_or_a_duration_ago() -> None:
    assert values.timestamp("1700000000.25", 0) == "1700000000.25"
    assert values.timestamp("10m", 1000) == "400.000000000"
    with pytest.raises(ValueError, match="is no time"):
        values.timestamp("yesterday", 0)
