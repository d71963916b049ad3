"""HTTP to one service call and back, one file for each resource."""
