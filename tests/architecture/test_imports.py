"""Who may import whom: the contracts of pyproject.toml, run."""

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.architecture import ROOT


def test_every_import_contract_is_kept(capsys):
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out
