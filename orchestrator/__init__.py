"""The domain core: plain Python and SQL. Knows nothing of HTTP, Prefect, vLLM or PEFT."""
