import pytest

from analysis.formats import big, duration, gigabytes, plural, points, share, short_duration, signed


def test_points_and_signs():
    assert (points(0.534), signed(-0.0021), share(0.524)) == ("53.40", "-0.21", "52 %")
    assert points(None) == points(float("nan")) == signed(float("nan")) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (300, "5.0 min"), (7200, "2.0 h"), (720_000, "200 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.000042, "0.042 ms"), (0.0994, "99 ms"), (0.0996, "0.1 s"), (1.94, "1.9 s"), (9.96, "10 s"), (120, "2.0 min")],
)
def test_short_durations_have_no_exponents(seconds, text):
    assert short_duration(seconds) == text


def test_counts():
    assert (gigabytes(2.01e8), gigabytes(2.09e10), gigabytes(1.24e12)) == ("0.201", "20.9", "1,240")
    assert (gigabytes(9.94e10, 2), gigabytes(9.96e10, 2), gigabytes(1.2e11, 2)) == ("99", "100", "120")
    assert (big(2.6e14), big(26_700_000), big(1234), big(12)) == ("260 T", "26.7 M", "1.23 k", "12")
    assert (plural(1, "parameter"), plural(2, "parameter")) == ("1 parameter", "2 parameters")


def test_what_rounds_to_zero_has_no_sign():
    assert (signed(-0.00001), signed(0.00004), share(-0.001), points(-1e-9)) == ("0.00", "0.00", "0 %", "0.00")
    assert (signed(0.001), signed(0.1), signed(1.0)) == ("+0.10", "+10.00", "+100.00")
