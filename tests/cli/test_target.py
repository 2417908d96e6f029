"""Where commands look: options, then the environment, and one place at a time."""

from collections.abc import Mapping

import pytest

from gqlplugin.cli.output import UsageError
from gqlplugin.cli.target import REMOTE, Target
from gqlplugin.platform.embedded import EmbeddedPlatform
from tests.cli.conftest import Gqlplugin
from tests.cli.support import APP

URL = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("options", "environment", "is_remote"),
    [
        ({"database": "x"}, {}, False),
        ({}, {"GQLPLUGIN_DATABASE": "x"}, False),
        ({"database": "x"}, {"TAILOR_PLATFORM_URL": URL}, False),
        ({"platform_url": URL}, {}, True),
        ({"profile": "work"}, {}, True),
        ({"workspace_id": "x"}, {}, True),
        ({"platform_url": URL}, {"GQLPLUGIN_DATABASE": "x"}, True),
        ({"application": "a:b"}, {"TAILOR_PLATFORM_URL": URL}, True),
        *(({}, {name: "x"}, True) for name in REMOTE),
        ({}, {"TAILOR_PLATFORM_URL": "", "GQLPLUGIN_DATABASE": "x"}, False),
    ],
)
def test_options_beat_the_environment(
    options: Mapping[str, str], environment: Mapping[str, str], is_remote: bool
) -> None:
    """An option decides; without one the environment does, where an empty variable is none."""
    target = Target(**options, environment=environment)
    assert target.is_remote is is_remote


@pytest.mark.parametrize("remote", [("--platform-url", URL), ("--profile", "x"), ("--workspace-id", "x")])
def test_two_places_are_a_usage_error(gqlplugin: Gqlplugin, remote: tuple[str, str]) -> None:
    """A file and a remote platform together exit with 2 and name both options."""
    result = gqlplugin("workflow", "executions", "--database", "x", *remote)
    assert (result.code, result.out) == (2, "")
    assert "--database" in result.err
    assert remote[0] in result.err


def test_an_environment_with_two_places_is_a_usage_error() -> None:
    """When only the environment speaks, and names both, nothing is guessed."""
    target = Target(environment={"GQLPLUGIN_DATABASE": "x", "TAILOR_TOKEN": "secret"})
    with pytest.raises(UsageError, match=r"GQLPLUGIN_DATABASE.*TAILOR_TOKEN") as caught:
        _ = target.is_remote
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("words", [("list",), ("get", "x"), ("start", "x"), ("executions",), ("resume", "x")])
def test_no_place_shows_both_ways(gqlplugin: Gqlplugin, words: tuple[str, ...]) -> None:
    """Without a place anywhere the usage error shows how to name either."""
    result = gqlplugin("workflow", *words)
    assert (result.code, result.out) == (2, "")
    assert "-A module:app" in result.err
    assert "--platform-url URL" in result.err
    assert "GQLPLUGIN_DATABASE" in result.err
    assert "TAILOR_PLATFORM_URL" in result.err


def test_definitions_need_no_file(gqlplugin: Gqlplugin) -> None:
    """`list`, `get`, `machineuser list` and `schema export` need the application alone."""
    for words in (
        ("workflow", "list"),
        ("workflow", "get", "place-order"),
        ("machineuser", "list"),
        ("schema", "export"),
    ):
        assert gqlplugin(*words, *APP).code == 0


def test_an_application_on_the_command_line_beats_a_platform_in_the_environment(
    gqlplugin: Gqlplugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`workflow list -A` lists the application's own workflows, though the environment names a platform."""
    monkeypatch.setenv("TAILOR_PLATFORM_URL", URL)
    assert gqlplugin("workflow", "list", *APP).code == 0


def test_a_start_on_this_machine_needs_the_application(gqlplugin: Gqlplugin) -> None:
    """Without an application nothing could be checked, so a start on a file is refused; reading is not."""
    result = gqlplugin("workflow", "start", "x", "--database", "x.sqlite")
    assert result.code == 2
    assert "Name it with -A module:app" in result.err


def test_the_next_command_looks_in_the_same_place() -> None:
    """A command to be typed next repeats the options, quoted for a shell, and not the environment."""
    target = Target(application="a:b", database="my shop.sqlite", environment={"TAILOR_TOKEN": "secret"})
    assert target.command("worker") == "gqlplugin worker -A a:b --database 'my shop.sqlite'"
    remote = Target(platform_url=URL, workspace_id="w", environment={})
    assert remote.command("workflow", "list") == f"gqlplugin workflow list --platform-url {URL} --workspace-id w"


def test_the_file_of_the_environment(tmp_path: object) -> None:
    """GQLPLUGIN_DATABASE is the file where no option names one."""
    target = Target(environment={"GQLPLUGIN_DATABASE": str(tmp_path)})
    platform = target.platform()
    assert isinstance(platform, EmbeddedPlatform)
    assert repr(platform) == f"<EmbeddedPlatform {str(tmp_path)!r}>"


def test_lists(gqlplugin: Gqlplugin) -> None:
    """Workflows and machine users of the application are listed, as tables and in the documented shapes."""
    assert gqlplugin("workflow", "list", *APP).out.splitlines() == [
        "NAME          MAIN JOB       JOBS",
        "pack-order    pack-order     2",
        "place-order   place-order    3",
        "queue-order   wait-for-gate  1",
        "refund-order  look-up-price  1",
        "ship-order    ship-order     2",
        "sign-order    sign-order     1",
    ]
    one = gqlplugin("workflow", "list", "--json", *APP).json[1]
    jobs = ["place-order", "charge-card", "look-up-price"]
    assert one == {"name": "place-order", "mainJob": "place-order", "jobFunctions": jobs, "updatedAt": None}
    assert gqlplugin("workflow", "get", "place-order", "-j", *APP).json == one
    assert "Main job:  place-order\n" in gqlplugin("workflow", "get", "place-order", *APP).out
    unknown = gqlplugin("workflow", "get", "plaice-order", *APP)
    assert (unknown.code, unknown.out) == (1, "")
    assert "Did you mean 'place-order'?" in unknown.err
    assert gqlplugin("machineuser", "list", *APP).out.splitlines() == [
        "NAME   NAMESPACE  ATTRIBUTES",
        'clerk  shop-auth  {"role": "CLERK"}',
        "robot  shop-auth  {}",
    ]
    assert gqlplugin("machineuser", "list", "-j", *APP).json == [
        {"name": "clerk", "namespace": "shop-auth", "clientId": None, "attributes": {"role": "CLERK"}},
        {"name": "robot", "namespace": "shop-auth", "clientId": None, "attributes": {}},
    ]
    assert gqlplugin("machineuser", "list", "-j", "--app", "other", *APP).json == []
