from pathlib import Path

from corral.agents.testing import Call, Reply, ScriptedServer

from .conftest import Corral


def test_the_stronger_source_wins_and_says_what_it_overrides(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "corral.toml").write_text('model = "openai/project"\nmax_steps = 3\nkind = "both"\n')
    (tmp_path / ".env").write_text("CORRAL_MODEL=openai/mine\n")
    shown = corral("config", "show", CORRAL_MODEL="openai/machine", CORRAL_KIND="codeact").stdout
    assert "model = openai/mine  (.env; overrides environment, CORRAL_MODEL, corral.toml)" in shown
    assert "kind = both  (corral.toml; overrides environment, CORRAL_KIND)" in shown
    assert "max_steps = 3  (corral.toml)" in shown


def test_a_flag_wins_over_the_project(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "corral.toml").write_text('model = "openai/project"\nmax_steps = 2\npolicy = "developer"\n')
    with ScriptedServer([Reply(calls=[Call("nothing")])]) as server:
        limited = corral("run", "?", "--api-base", server.url)
        assert len(server.bodies) == 2
        corral("run", "?", "--api-base", server.url, "--max-steps", "3", "--model", "openai/flag")
    assert limited.returncode == 4
    assert [body["model"] for body in server.bodies] == ["project", "project", "flag", "flag", "flag"]


def test_a_project_file_that_is_wrong_says_where(corral: Corral, tmp_path: Path) -> None:
    for text, said in {
        'modl = "x"\n': "modl: nothing is called that; did you mean model?",
        "model = \n": "this is not TOML",
        "max_steps = -1\n": "max_steps (CORRAL_MAX_STEPS, or in corral.toml): Input should be greater",
        'api_key = "sk-secret"\n': "keys don't belong into a project's file",
    }.items():
        (tmp_path / "corral.toml").write_text(text)
        done = corral("run", "?")
        assert done.returncode == 2
        assert said in done.stderr
        assert "sk-secret" not in done.stderr
        assert corral("run", "--help").returncode == 0


def test_a_plugin_that_is_configured_and_not_installed_is_said(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "corral.toml").write_text('model = "openai/project"\nplugins = ["nope"]\n')
    assert "plugins = ['nope']  (corral.toml)" in corral("config", "show").stdout
    with ScriptedServer(["Done."]) as server:
        done = corral("run", "?", "--api-base", server.url)
        assert server.bodies == []
    assert done.returncode == 2
    assert "there is no plugin 'nope'" in done.stderr
