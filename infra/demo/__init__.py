"""`make demo`: a yard from nothing, one real batch through it, and every promise looked at."""
