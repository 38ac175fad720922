from aggregator.alarms.rules import AGAIN_LONGEST_S, again_after_s


def test_an_answer_is_waited_for_longer_each_time_and_never_very_long() -> None:
    assert [again_after_s(times) for times in range(1, 7)] == [5, 10, 20, 40, 60, 60]
    assert again_after_s(10_000) == AGAIN_LONGEST_S
