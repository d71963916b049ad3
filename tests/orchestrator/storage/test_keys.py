from orchestrator import ids
from orchestrator.storage import keys


def test_every_key_that_is_spelled_here_is_fit_for_every_store() -> None:
    organization, batch = ids.new("org_"), ids.new("batch_")
    spelled = [
        keys.file_content(organization, ids.new("file-")),
        keys.upload_part(organization, ids.new("upload_"), ids.new("part_")),
        keys.segment(organization, batch, 1, 7),
        keys.batch_lines(organization, batch),
        keys.batch_unfinished(organization, batch),
        keys.batch_result(organization, batch, "output"),
    ]
    assert [keys.check_key(key) for key in spelled] == spelled


def test_every_prefix_begins_the_keys_that_it_is_for() -> None:
    organization, batch, file = ids.new("org_"), ids.new("batch_"), ids.new("file-")
    upload, part = ids.new("upload_"), ids.new("part_")
    for prefix, key in (
        (keys.file_prefix(organization, file), keys.file_content(organization, file)),
        (keys.upload_prefix(organization, upload), keys.upload_part(organization, upload, part)),
        (keys.segment_prefix(organization, batch), keys.segment(organization, batch, 1, 1)),
    ):
        assert key.startswith(keys.check_prefix(prefix))


def test_segments_sort_by_attempt_and_then_by_sequence() -> None:
    numbers = [(1, 2), (1, 10), (2, 1), (10, 1)]
    spelled = [keys.segment("org_a", "batch_a", *number) for number in numbers]
    assert sorted(spelled) == spelled
