"""Parts of `make run` without the real processes, which test_make_run.py starts."""

import io
import os
import socket
import sys
from pathlib import Path

import pytest
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.core.management.base import OutputWrapper
from pytest_django import Settings

from audit.log import history_of
from keys.models import APIKey, ModelPrice
from messages_api.models import Route, Upstream
from project import checks
from project.quickstart import packages, rows, secrets_file
from project.quickstart.errors import CannotStart
from project.quickstart.processes import Child, check_port_is_free
from project.quickstart.serving import Serving
from project.quickstart.terminal import Terminal
from tests.support.gateway import free_port, targets_of, wait_until

ALL = set(secrets_file.MAKERS)


def assignments(path: Path) -> dict[str, str]:
    return dict(secrets_file.ASSIGNMENT.findall(path.read_text()))


# ---- The secrets file.


def test_a_new_secrets_file_is_private_and_has_valid_secrets(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / ".env"

    written = secrets_file.complete(path, missing=ALL)

    values = assignments(path)
    assert set(written) == ALL
    assert path.stat().st_mode & 0o777 == 0o600
    assert not [name for name in ALL if checks.weakness(values[name])]
    assert Fernet(values["CREDENTIAL_ENCRYPTION_KEYS"])
    assert values["HTTPS"] == "false"
    assert os.listdir(path.parent) == [".env"]


def test_a_second_run_changes_only_an_insecure_file_mode(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    secrets_file.complete(path, missing=ALL)
    before = path.read_text()
    path.chmod(0o644)

    assert secrets_file.complete(path, missing=ALL) == []
    assert path.read_text() == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_secrets_in_the_file_are_kept_and_missing_values_are_added(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nSECRET_KEY=\nexport API_KEY_PEPPERS='my own pepper'\nHTTPS=true\nBIND=127.0.0.1:9")

    written = secrets_file.complete(path, missing={"SECRET_KEY", "CREDENTIAL_ENCRYPTION_KEYS", "API_KEY_PEPPERS"})

    lines = path.read_text().splitlines()
    assert written == ["SECRET_KEY", "CREDENTIAL_ENCRYPTION_KEYS"]
    assert lines[:4] == ["# mine", "export API_KEY_PEPPERS='my own pepper'", "HTTPS=true", "BIND=127.0.0.1:9"]
    assert [line.partition("=")[0] for line in lines[4:]] == written


def test_secrets_of_the_environment_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / ".env"

    assert secrets_file.complete(path, missing=set()) == []
    assert not path.exists()


# ---- Rows in the database.


def test_the_admin_and_the_first_key_are_created_once(db: None) -> None:
    admin, password = rows.ensure_admin()
    raw_key = rows.ensure_first_key(admin)

    assert password is not None
    assert admin.check_password(password)
    assert raw_key is not None
    assert rows.ensure_admin() == (admin, None)


def test_a_first_key_that_still_verifies_is_not_issued_again(owner: User, settings: Settings) -> None:
    settings.API_KEY_PEPPERS = ["old pepper"]
    rows.ensure_first_key(owner)

    settings.API_KEY_PEPPERS = ["new pepper", "old pepper"]
    assert rows.ensure_first_key(owner) is None

    settings.API_KEY_PEPPERS = ["the old pepper is lost"]
    assert rows.ensure_first_key(owner) is not None


def test_a_user_named_admin_without_admin_rights_is_reported(db: None) -> None:
    User.objects.create_user("admin", password="a good password of a user")

    with pytest.raises(CannotStart, match="createsuperuser"):
        rows.ensure_admin()


def test_the_requests_of_later_runs_share_one_key_that_is_not_the_first_key(owner: User) -> None:
    raw_keys = {rows.issue_check_key(owner), rows.issue_check_key(owner)}

    assert len(raw_keys) == 2
    assert {APIKey.objects.with_raw_key(raw).get().name for raw in raw_keys} == {rows.CHECK_KEY}
    assert APIKey.objects.count() == 1
    assert APIKey.objects.get().secrets.exclude(expires_at=None).count() == 2
    assert rows.ensure_first_key(owner) is not None


def test_every_model_name_is_routed_to_the_embedded_model_in_both_dialects(db: None) -> None:
    for port in (8081, 8082):
        rows.register_local_model(f"http://127.0.0.1:{port}", model="small")

    found = {
        name: [(target.endpoint.dialect, target.endpoint.base_url, target.model) for target in targets_of(name)]
        for name in ("claude-3-opus-20240229", "small", "small-anthropic")
    }
    assert found == {
        "claude-3-opus-20240229": [("openai", "http://127.0.0.1:8082", "small")],
        "small": [("openai", "http://127.0.0.1:8082", "small")],
        "small-anthropic": [("anthropic", "http://127.0.0.1:8082", "small")],
    }


def test_the_embedded_model_is_free_unless_an_operator_gave_it_a_price(db: None) -> None:
    ModelPrice.objects.create(model_pattern="small", upstream="local-model", input_price=1, output_price=2)
    for _ in range(2):
        rows.register_local_model("http://127.0.0.1:8081", model="small")

    found = ModelPrice.objects.values_list("model_pattern", "upstream", "is_free", "input_price")
    assert sorted(found) == [("small", "local-model", False, 1), ("small", "local-model-anthropic", True, 0)]
    for price in ModelPrice.objects.all():
        price.full_clean()


def test_an_upstream_of_the_environment_replaces_the_embedded_model(db: None) -> None:
    rows.register_local_model("http://127.0.0.1:8081", model="small")
    for credential in ("old", "new"):
        rows.register_given("https://model.test/v1", dialect="anthropic", credential=credential, model="")

    [target] = targets_of("claude-3-opus-20240229")
    assert (target.endpoint.name, target.endpoint.credential) == ("upstream", "new")
    assert target.model == "claude-3-opus-20240229"
    assert targets_of("small") == []


def test_the_audit_log_has_only_the_changes_of_a_start(db: None) -> None:
    rows.register_local_model("http://127.0.0.1:8081", model="small")
    rows.register_given("https://model.test/v1", dialect="anthropic", credential="old", model="")
    first = LogEntry.objects.count()

    rows.register_given("https://model.test/v1", dialect="anthropic", credential="old", model="")
    assert LogEntry.objects.count() == first
    rows.register_given("https://model.test/v1", dialect="anthropic", credential="new", model="")

    given = Upstream.objects.get(name="upstream")
    assert history_of(given)[0].changes == ["Credential: changed"]
    assert history_of(Upstream.objects.get(name="local-model"))[0].changes == ["Enabled: yes → no"]


def test_a_route_changed_by_an_operator_is_kept(db: None) -> None:
    own = Upstream.objects.create(name="own", dialect="openai", base_url="https://own.test")
    Route.objects.create(pattern="*").targets.create(upstream=own)

    rows.register_local_model("http://127.0.0.1:8081", model="small")

    assert [target.endpoint.name for target in targets_of("anything")] == ["own"]


def test_an_invalid_url_is_reported_with_the_name_of_its_variable(db: None) -> None:
    with pytest.raises(CannotStart, match=r"^UPSTREAM_URL: "):
        rows.register_given("ftp://model.test", dialect="openai", credential="", model="")


# ---- Packages, ports, processes and the terminal.


def test_a_missing_package_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.txt").write_text(
        "django==5.2.19 \\\n    --hash=sha256:0\nno-such-package[x]==1.0 \\\n    # via django\n"
    )

    assert packages.main([str(tmp_path / "r.txt")]) == 1
    assert capsys.readouterr().err.startswith("Not installed: no-such-package. ")


def test_an_incomplete_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half.py").touch()
    folder = tmp_path / "half-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: half\nVersion: 1.0\n")
    (folder / "RECORD").write_text("half.py,,\nhalf-1.0.dist-info/METADATA,,\n__pycache__/half.cpython-311.pyc,,\n")
    (tmp_path / "r.txt").write_text("half==1.0")
    monkeypatch.syspath_prepend(tmp_path)

    before = packages.find_missing(tmp_path / "r.txt")
    (tmp_path / "half.py").unlink()

    assert (before, packages.find_missing(tmp_path / "r.txt")) == ([], ["half"])


def test_a_used_port_is_reported_with_advice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(CannotStart) as error:
            check_port_is_free("127.0.0.1", port, advice="Choose another.")

    assert str(error.value) == f"Port {port} is in use. Choose another."


def test_a_free_port_passes() -> None:
    check_port_is_free("127.0.0.1", free_port(), advice="")


def child(tmp_path: Path, program: str) -> Child:
    return Child("The child", [sys.executable, "-c", program], folder=tmp_path, log=tmp_path / "log" / "child.log")


def test_the_output_of_a_process_that_exits_early_is_reported(tmp_path: Path) -> None:
    ended = child(tmp_path, "print('first'); print('no weights')")

    with pytest.raises(CannotStart, match=r"^The child did not start: no weights\. "):
        ended.wait_until_ready(f"http://127.0.0.1:{free_port()}/", within_s=20)


def test_the_wait_for_a_process_that_never_responds_is_limited(tmp_path: Path) -> None:
    silent = child(tmp_path, "import time; time.sleep(60)")

    with pytest.raises(CannotStart, match="was not ready within 0 s"):
        silent.wait_until_ready(f"http://127.0.0.1:{free_port()}/", within_s=0.2)
    silent.stop(within_s=5)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = child(
        tmp_path,
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
    )
    wait_until(lambda: stubborn.last_output() == "up", within_s=20)

    stubborn.stop(within_s=0.2)
    stubborn.stop(within_s=0.2)

    assert stubborn.has_ended()


def test_a_run_ends_with_its_parent_process() -> None:
    serving = Serving(Terminal(OutputWrapper(io.StringIO())), port=8000, with_model=False)

    serving.watch(parent=os.getpid())  # not the parent process


def test_a_step_is_shown_while_it_runs_and_completed_on_its_line() -> None:
    screen = io.StringIO()
    terminal = Terminal(OutputWrapper(screen))

    terminal.begin("Model", "loading")
    begun = screen.getvalue()
    terminal.say("ready")
    terminal.say("two\nlines", label="Plain")
    terminal.say_in_pieces(["He", "llo"])

    assert begun == "  Model     loading … "
    assert screen.getvalue() == "\n".join(
        ["  Model     loading … ready", "  Plain     two", "            lines", "            Hello", ""]
    )
