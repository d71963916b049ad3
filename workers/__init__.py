"""GPU programs: a spec in, objects out, a result back. No database, no settings, no Prefect."""
