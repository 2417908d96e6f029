"""`gqlplugin serve` and `serve-platform`: processes that serve until they are told to end."""

import os
import re
import signal
import socket
import stat
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Gqlplugin
from tests.cli.support import APP, Running, run_command, running, until

SHOP = ("tests.cli.shop:app", "--database", "shop.sqlite")
LOCAL = (*APP, "--database", "shop.sqlite")
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def served_at(server: Running) -> str:
    """The URL that uvicorn says it serves."""
    found = re.search(r"http://127\.0\.0\.1:\d+", server.says("Uvicorn running on"))
    assert found is not None
    return found[0]


def test_a_second_interrupt_ends_it_at_once(gqlplugin: Gqlplugin, tmp_path: Path) -> None:
    """A server whose job goes on is ended by the second Ctrl-C, before its ten seconds are over."""
    with running(tmp_path, "serve", "--port", "0", *SHOP) as process:
        process.says("Uvicorn running on")
        run_id = gqlplugin("workflow", "start", "pack-order", "-a", '"shut"', "-q", *LOCAL).out.strip()
        until(lambda: "at the gate" in gqlplugin("workflow", "executions", run_id, *LOCAL).out)
        process.process.send_signal(signal.SIGINT)
        process.says("Shutting down")
        process.process.send_signal(signal.SIGINT)
        assert process.ended() == 130
    assert "were stopped after" not in process.err
    assert "Traceback" not in process.err


@pytest.mark.parametrize("number", SIGNALS)
def test_serve_answers_graphql_and_runs_jobs(gqlplugin: Gqlplugin, tmp_path: Path, number: signal.Signals) -> None:
    """The GraphQL API is served, the file is made, and jobs run in the same process."""
    with running(tmp_path, "serve", *SHOP, "--port", "0") as server:
        url = served_at(server)
        answer = httpx.post(f"{url}/graphql", json={"query": 'mutation { placeOrder(item: "tea") }'}, trust_env=False)
        assert answer.json() == {"data": {"placeOrder": "tea"}}
        assert "PRINTER_OFF" in gqlplugin("workflow", "start", "ship-order", "-W", *LOCAL).err
        assert "Callers are anonymous" in server.err
        before_the_end = len(server.err)  # the run that failed has a traceback
        server.process.send_signal(number)
        assert server.ended() in (0, -number)
    assert "Traceback" not in server.err[before_the_end:]


def test_serve_without_jobs(gqlplugin: Gqlplugin, tmp_path: Path) -> None:
    """With --no-execute jobs wait for a worker."""
    with running(tmp_path, "serve", *SHOP, "--port", "0", "--no-execute") as server:
        served_at(server)
        result = gqlplugin("workflow", "start", "ship-order", "-W", "--timeout", "300ms", *LOCAL)
    assert result.code == 3
    assert "PENDING" in result.err
    assert "RUNNING" not in result.err


def exported(server: Running) -> dict[str, str]:
    """What a shell sets that runs the lines which the server prints."""
    server.says("Ctrl-C ends it.")
    lines = [line.strip() for line in server.err.splitlines() if line.strip().startswith("export ")]
    shell = subprocess.run(
        ["/bin/sh", "-c", "\n".join([*lines, "env"])],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = (line.split("=", 1) for line in shell.stdout.splitlines())
    return {name: value for name, value in pairs if "PLATFORM_" in name}


@pytest.mark.parametrize("number", SIGNALS)
def test_serve_platform_says_how_to_use_it(
    gqlplugin: Gqlplugin, tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines it prints set what clients need; the token is in a file of its owner's alone, and nowhere else."""
    with running(tmp_path, "serve-platform", *SHOP, "--port", "0") as server:
        variables = exported(server)
        file = tmp_path / "shop.sqlite.token"
        token = file.read_text().strip()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(token) >= 32
        assert variables["TAILOR_PLATFORM_TOKEN"] == token
        assert variables["PLATFORM_URL"] == variables["TAILOR_PLATFORM_URL"]
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert "place-order" in gqlplugin("workflow", "list").out
        server.process.send_signal(number)
        assert server.ended() == 0
    assert token not in server.out + server.err
    assert "shop.sqlite.token" in server.err


def test_the_token_of_the_environment(gqlplugin: Gqlplugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAILOR_PLATFORM_TOKEN is the token where it is set: no file is made, and it is not printed."""
    token = "operator-token-of-the-environment"  # noqa: S105 - of this test alone
    uuid = "11111111-1111-4111-8111-111111111111"
    options = ("--port", "0", "--workspace-id", uuid)
    with running(tmp_path, "serve-platform", *SHOP, *options, TAILOR_PLATFORM_TOKEN=token) as server:
        variables = exported(server) | {"TAILOR_PLATFORM_TOKEN": token}
        assert variables["TAILOR_PLATFORM_WORKSPACE_ID"] == uuid
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert gqlplugin("workflow", "list").code == 0
    assert token not in server.out + server.err
    assert not (tmp_path / "shop.sqlite.token").exists()


def test_no_other_token_is_sent(tmp_path: Path) -> None:
    """In a shell without the operator token, the printed lines set one, so that clients don't fall back on another."""
    token = "operator-token-of-the-environment"  # noqa: S105 - of this test alone
    with running(tmp_path, "serve-platform", *SHOP, "--port", "0", TAILOR_PLATFORM_TOKEN=token) as server:
        assert exported(server)["TAILOR_PLATFORM_TOKEN"] == "put-the-operator-token-here"  # noqa: S105


def application_url(server: Running, **headers: str) -> str:
    """The application's URL, as a client at the address that the server listens at gets it."""
    variables = exported(server)
    listens = re.search(r"http://127\.0\.0\.1:\d+", server.err)
    assert listens is not None
    answer = httpx.post(
        f"{listens[0]}/tailor.v1.OperatorService/ListApplications",
        json={"workspaceId": variables["TAILOR_PLATFORM_WORKSPACE_ID"]},
        headers={"authorization": f"Bearer {variables['TAILOR_PLATFORM_TOKEN']}", **headers},
        trust_env=False,
    )
    [application] = answer.json()["applications"]
    return str(application["url"])


BEHIND_A_PROXY = {"host": "shop.example", "x-forwarded-proto": "https"}


def test_the_public_url(tmp_path: Path) -> None:
    """--url is the URL of the application, and what clients are to be set up with."""
    with running(tmp_path, "serve-platform", *SHOP, "--port", "0", "--url", "https://shop.example/") as server:
        assert application_url(server) == "https://shop.example"
        assert exported(server)["TAILOR_PLATFORM_URL"] == exported(server)["PLATFORM_URL"] == "https://shop.example"


@pytest.mark.parametrize("trusted", ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8", "*"])
def test_a_trusted_proxy(tmp_path: Path, trusted: str) -> None:
    """What a proxy reports counts when --forwarded-allow-ips names it."""
    with running(tmp_path, "serve-platform", *SHOP, "--port", "0", "--forwarded-allow-ips", trusted) as server:
        assert application_url(server, **BEHIND_A_PROXY) == "https://shop.example"


def test_a_proxy_that_is_not_trusted(tmp_path: Path) -> None:
    """What a proxy reports does not count by default, and the log names the options."""
    with running(tmp_path, "serve-platform", *SHOP, "--port", "0") as server:
        assert application_url(server, **BEHIND_A_PROXY) == exported(server)["TAILOR_PLATFORM_URL"]
        server.says("--forwarded-allow-ips 127.0.0.1")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--url", "ftp://shop.example"), "url must be the http or https URL"),
        (("--forwarded-allow-ips", "127.0.0.1,proxy"), "not 'proxy'"),
    ],
)
def test_options_about_the_url(gqlplugin: Gqlplugin, options: tuple[str, ...], shown: str) -> None:
    """A malformed URL or address of a proxy is an error that names it."""
    result = gqlplugin("serve-platform", *SHOP, "--port", "0", *options)
    assert (result.code, result.out) == (1, "")
    assert shown in result.err


def test_a_token_file_is_kept(tmp_path: Path) -> None:
    """An existing token file is used as it is, and one that others may read is warned of."""
    file = tmp_path / "my token"
    file.write_text("a-token-that-somebody-made\n")
    file.chmod(0o644)
    with running(tmp_path, "serve-platform", *SHOP, "--port", "0", "--token-file", "my token") as server:
        assert exported(server)["TAILOR_PLATFORM_TOKEN"] == "a-token-that-somebody-made"  # noqa: S105
        assert "chmod 600 'my token'" in server.err
    assert file.read_text() == "a-token-that-somebody-made\n"


@pytest.mark.parametrize("content", [b"", b" \n\t\n"])
def test_an_empty_token_file_gets_a_token(tmp_path: Path, content: bytes) -> None:
    """As a crash may have left it: a new token is made, which only its owner can read, and that is said."""
    file = tmp_path / "shop.sqlite.token"
    file.write_bytes(content)
    file.chmod(0o644)
    with running(tmp_path, "serve-platform", *SHOP, "--port", "0") as server:
        token = exported(server)["TAILOR_PLATFORM_TOKEN"]
    assert len(token) >= 32
    assert file.read_text() == f"{token}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "was empty: it has a new token now" in server.err
    assert sorted(one.name for one in tmp_path.iterdir() if "token" in one.name) == ["shop.sqlite.token"]


def test_a_token_file_that_holds_none_is_named(gqlplugin: Gqlplugin, tmp_path: Path) -> None:
    """A directory, what is not text, and a place where nothing can be made: each error says what to do."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe" * 20)
    for name, shown in (
        ("directory", "is a directory: name a file with --token-file"),
        ("binary", "it is not ASCII text"),
        ("nowhere/token", "can't be read or made"),
    ):
        result = gqlplugin("serve-platform", *SHOP, "--port", "0", "--token-file", str(tmp_path / name))
        assert (result.code, result.out) == (1, "")
        assert shown in " ".join(result.err.split())
        assert "Traceback" not in result.err
    assert (tmp_path / "binary").read_bytes() == b"\xff\xfe" * 20


def test_a_token_file_of_somebody_else_is_named(gqlplugin: Gqlplugin, tmp_path: Path) -> None:
    """What can't be read is not replaced."""
    file = tmp_path / "token"
    file.write_text("a-token-that-somebody-made\n")
    file.chmod(0)
    if os.geteuid() == 0:
        file = Path("/proc/sys/vm/drop_caches")  # which not even root can read
    result = gqlplugin("serve-platform", *SHOP, "--port", "0", "--token-file", str(file))
    assert result.code == 2
    assert "is not readable" in " ".join(result.err.split())


@pytest.mark.parametrize("command", ["serve", "serve-platform"])
@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("tests.cli.shop:app",), "Name it with --database FILE, or set GQLPLUGIN_DATABASE."),
        (("--database", "x"), "Name it with -A module:app"),
        (("a:b", "-A", "c:d", "--database", "x"), "'a:b' or 'c:d'"),
    ],
)
def test_what_to_serve_must_be_said(
    gqlplugin: Gqlplugin, tmp_path: Path, command: str, options: tuple[str, ...], shown: str
) -> None:
    """Without an application or a file the usage error says how to name it, and no file is made."""
    result = gqlplugin(command, *options)
    assert (result.code, result.out) == (2, "")
    assert shown in result.err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("command", ["serve", "serve-platform"])
def test_a_port_that_is_taken(tmp_path: Path, command: str) -> None:
    """A port that somebody else listens at is an error without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = run_command(tmp_path, command, *SHOP, "--port", str(taken.getsockname()[1]))
    assert other.returncode == 1
    assert "Traceback" not in other.stderr
    assert "in use" in other.stderr
