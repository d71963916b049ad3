from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.entitlements.tiers import SHIPPED, Tiers


@pytest.fixture(scope="module")
def tiers() -> Tiers:
    return Tiers.load()


def edited(tmp_path: Path, old: str, new: str) -> Path:
    """The shipped tiers with one piece of text changed."""
    text = SHIPPED.read_text()
    assert old in text
    path = tmp_path / "tiers.toml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_the_shipped_tiers_come_cheapest_first(tiers: Tiers):
    assert [tier.name for tier in tiers] == ["free", "developer", "enterprise"]
    assert [tier.title for tier in tiers] == ["Free", "Developer", "Enterprise"]


def test_a_dearer_tier_never_has_less(tiers: Tiers):
    free, developer, enterprise = tiers
    for cheaper, dearer in ((free, developer), (developer, enterprise)):
        assert dearer.weight > cheaper.weight
        assert dearer.priority < cheaper.priority
        for limit in (
            "file_bytes_max",
            "upload_bytes_max",
            "upload_parts_parallel",
            "batch_lines_max",
            "line_bytes_max",
            "batch_lines_per_day",
            "concurrent_batches",
            "queued_tokens_max",
            "completion_window_hours_max",
            "retention_days",
        ):
            less, more = getattr(cheaper, limit), getattr(dearer, limit)
            assert more is None or (less is not None and more >= less), limit


def test_the_shipped_bounds_are_those_that_clients_know(tiers: Tiers):
    assert tiers["developer"].batch_lines_max == 50_000
    assert tiers["developer"].file_bytes_max == 200 * 2**20
    assert tiers["developer"].batch_discount == tiers["enterprise"].batch_discount == 0.5
    assert tiers["enterprise"].upload_bytes_max == 8 * 2**30
    assert [tier.fine_tuning for tier in tiers] == [False, False, True]


def test_free_has_the_smallest_model_only(tiers: Tiers):
    assert tiers["free"].permits("yard-smoke")
    assert not tiers["free"].permits("another")
    assert tiers["developer"].permits("another")


def test_a_limit_names_the_cheapest_tier_that_lifts_it(tiers: Tiers):
    found = tiers.cheapest_with(lambda tier: tier.batch_lines_max > 100)
    assert found is not None
    assert found.name == "developer"
    assert tiers.cheapest_with(lambda tier: tier.batch_lines_max > 10**9) is None


def test_an_unknown_tier_is_answered_with_those_there_are(tiers: Tiers):
    assert "gold" not in tiers
    with pytest.raises(KeyError, match="no tier 'gold'; there are: free, developer, enterprise"):
        tiers["gold"]


def test_a_tier_cannot_be_changed(tiers: Tiers):
    with pytest.raises(ValidationError, match="frozen"):
        tiers["free"].priority = 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("priority = 30", "", "free.priority: Field required"),
        ("priority = 30", 'priority = "30"', "free.priority: Input should be a valid integer"),
        ("priority = 30", "priority = 30\npriorities = 3", "free.priorities: Extra inputs"),
        ("batch_lines_max = 50_000", "batch_lines_max = 0", "developer.batch_lines_max: .*greater"),
        ("batch_discount = 0.5", "batch_discount = 50", "developer.batch_discount: .*less than"),
        ('models = "*"', 'models = "all"', "developer.models"),
        (
            "completion_window_hours_min = 24",
            "completion_window_hours_min = 25",
            "free: .*completion_window_hours_min is above completion_window_hours_max",
        ),
        ("[free]", "[free", "tiers.toml: "),
        ("[free]", "gold = 1\n[free]", "gold: a tier is a table"),
    ],
)
def test_a_mistake_in_the_file_is_told_by_its_key(tmp_path: Path, old: str, new: str, words: str):
    with pytest.raises(ValueError, match=f"tiers.toml: .*{words.removeprefix('tiers.toml: ')}"):
        Tiers.load(edited(tmp_path, old, new))


def test_a_file_without_a_tier_is_refused(tmp_path: Path):
    path = tmp_path / "tiers.toml"
    path.write_text("# nothing yet\n")
    with pytest.raises(ValueError, match="no tier in it"):
        Tiers.load(path)
