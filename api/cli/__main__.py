"""`python -m api.cli` is `yard`."""

from api.cli.main import app

app(prog_name="yard")
