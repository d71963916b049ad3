"""The tiers and models of the yard under test: small enough to reach every limit."""

TIERS = """
[free]
title = "Free"
summary = "For trying."
monthly_price = "$0"
models = ["yard-smoke"]
batch_discount = 1.0
file_bytes_max = 4_000
upload_bytes_max = 4_000
upload_parts_parallel = 1
batch_lines_max = 5
line_bytes_max = 1_000
batch_lines_per_day = 8
concurrent_batches = 1
completion_window_hours_min = 24
completion_window_hours_max = 24
fine_tuning = false
training_price_factor = 1.0
sandbox_discount = 0.0
weight = 1.0
priority = 30
retention_days = 7
support = "None"

[developer]
title = "Developer"
summary = "For working."
monthly_price = "Pay per token"
models = "*"
batch_discount = 0.5
file_bytes_max = 2_000_000
upload_bytes_max = 3_000_000
upload_parts_parallel = 2
batch_lines_max = 1_000
line_bytes_max = 10_000
concurrent_batches = 40
queued_tokens_max = 2_000
completion_window_hours_min = 24
completion_window_hours_max = 168
fine_tuning = false
training_price_factor = 1.0
sandbox_discount = 0.0
weight = 4.0
priority = 20
retention_days = 30
support = "Chat"

[enterprise]
title = "Enterprise"
summary = "For training."
monthly_price = "By contract"
models = "*"
batch_discount = 0.5
file_bytes_max = 2_000_000
upload_bytes_max = 3_000_000
upload_parts_parallel = 2
batch_lines_max = 1_000
line_bytes_max = 10_000
completion_window_hours_min = 24
completion_window_hours_max = 168
fine_tuning = true
fine_tuning_jobs = 4
training_price_factor = 1.0
sandbox_discount = 0.0
weight = 16.0
priority = 10
retention_days = 30
support = "Chat"
"""

MODELS = """
[models."yard-smoke"]
source = "smoke"
context_length = 2048
endpoints = ["/v1/chat/completions", "/v1/completions"]
input_price = 0.05
cached_input_price = 0.025
output_price = 0.08

[models."yard-smoke".lora]
training_price = 0.50
rank_max = 32

[models."org/large"]
url = "http://127.0.0.1:9"
owned_by = "org"
context_length = 32768
endpoints = ["/v1/chat/completions"]
input_price = 1.00
cached_input_price = 0.50
output_price = 2.00

[models."tiny"]
source = "tiny"
context_length = 64
endpoints = ["/v1/chat/completions"]
input_price = 0.05
cached_input_price = 0.025
output_price = 0.08

[models."tiny".lora]
training_price = 1_000

[models."theirs/alone"]
url = "http://127.0.0.1:9"
context_length = 64
endpoints = ["/v1/chat/completions"]
input_price = 0.01
cached_input_price = 0.01
output_price = 0.01
organizations = ["org_of_somebody_else"]
"""
