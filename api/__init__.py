"""The faces of the yard: HTTP (FastAPI) and the command line that speaks it. No business rule lives
here."""
