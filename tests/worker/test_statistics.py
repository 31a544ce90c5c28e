"""How long results take, and what else a worker counts."""

from pykaldi_server.session.events import AdaptationState, Event, Final, Hypothesis, Partial
from pykaldi_server.worker.statistics import CANCELLED, MOST_STRETCHES, RequestStatistics, WorkerStatistics


def final(end_s: float) -> Final:
    return Final(0, 0.0, end_s, end_s, (Hypothesis("one", 0.0),))


def live(seconds: int) -> RequestStatistics:
    """Audio in pieces of 0.1 s that come as they are spoken, from 100.1 s on."""
    request = RequestStatistics(lambda event, delay_s: None)
    for number in range(1, 10 * seconds + 1):
        request.recognized(number / 10, 100 + number / 10, 100 + number / 10)
    return request


def test_a_final_result_is_timed_from_the_end_of_its_segment() -> None:
    request = live(5)
    assert request.received_s(final(4.2), 105.0, is_audio=True) == 104.2
    assert request.received_s(final(4.25), 105.0, is_audio=True) == 104.3  # with the rest of that piece
    assert request.received_s(final(0.05), 105.0, is_audio=True) == 100.1


def test_a_final_result_that_the_client_asks_for_is_timed_from_that() -> None:
    assert live(5).received_s(final(4.2), 109.0, is_audio=False) == 109.0


def test_a_partial_result_is_timed_from_the_latest_audio() -> None:
    assert live(5).received_s(Partial(0, "one"), 105.0, is_audio=True) == 105.0


def test_a_state_is_not_timed() -> None:
    assert live(5).received_s(AdaptationState("x"), 105.0, is_audio=True) is None


def test_audio_of_several_messages_came_in_between() -> None:
    request = RequestStatistics(lambda event, delay_s: None)
    request.recognized(1.0, 100.0, 100.0)
    request.recognized(2.0, 100.5, 101.5)
    assert request.received_s(final(1.5), 101.5, is_audio=True) == 101.0
    assert request.received_s(final(2.0), 101.5, is_audio=True) == 101.5
    assert request.received_s(final(1.0), 101.5, is_audio=True) == 100.0


def test_only_the_latest_audio_is_remembered() -> None:
    request = live(MOST_STRETCHES)
    oldest_s = 100 + MOST_STRETCHES - MOST_STRETCHES / 10
    assert abs((request.received_s(final(0.1), 0.0, is_audio=True) or 0.0) - oldest_s) < 0.11


def test_a_result_without_any_audio() -> None:
    request = RequestStatistics(lambda event, delay_s: None)
    assert request.received_s(final(0.0), 7.0, is_audio=True) == 7.0


def test_delays_are_taken_once() -> None:
    observed: list[tuple[Event, float]] = []
    request = RequestStatistics(lambda event, delay_s: observed.append((event, delay_s)))
    request.sent(Partial(0, "one"), 0.1)
    request.sent(final(1.0), 0.2)
    request.sent(Partial(0, "two"), 0.3)
    assert request.take_delays_s() == ((0.1, 0.3), (0.2,))
    assert request.take_delays_s() == ((), ())
    assert [delay_s for _, delay_s in observed] == [0.1, 0.2, 0.3]


def test_requests_are_counted_while_they_run_and_afterwards() -> None:
    worker = WorkerStatistics()
    one, two = worker.begin(), worker.begin()
    one.recognized(2.0, 0.0, 0.0)
    two.recognized(3.0, 0.0, 0.0)
    two.cpu_s, two.outcome = 0.5, "success"
    assert (worker.audio_s, worker.cpu_s) == (5.0, 0.5)
    worker.end(two)
    assert (worker.audio_s, worker.cpu_s) == (5.0, 0.5)
    worker.end(one)
    assert worker.audio_s == 5.0
    assert worker.outcomes == {"success": 1, CANCELLED: 1}
