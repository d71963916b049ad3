"""Prefect: when and where a flow runs. Each file is one operation from first step to last, with its undo."""
