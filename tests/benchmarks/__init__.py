"""What the yard costs and how fast it is, beside what it is measured against, in one run."""
