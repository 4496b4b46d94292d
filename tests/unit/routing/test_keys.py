"""Which of a provider's keys is used."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ErrorKind, GatewayError
from service.routing.keys import Key, KeyRing, Rest

LIMITED, REFUSED = ErrorKind.RATE_LIMITED, ErrorKind.UPSTREAM_AUTH
RING = KeyRing((Key("main"), Key("spare")))


def names(ring, model="m", now=0.0, **more):
    return {ring.choose(model, now, draw / 50, **more).name for draw in range(50)}


def failure(ring, model="m", now=0.0, **more):
    with pytest.raises(GatewayError) as caught:
        ring.choose(model, now, 0.5, **more)
    return caught.value


def test_keys_are_drawn_by_weight():
    ring = KeyRing((Key("main", 3.0), Key("spare", 1.0)))
    draw = random.Random(3).random
    drawn = Counter(ring.choose("m", 0.0, draw()).name for _ in range(4000))
    assert 0.72 < drawn["main"] / 4000 < 0.78


def test_weight_zero_is_used_only_when_no_other_key_can_be():
    ring = KeyRing((Key("reserve", 0.0), Key("main")))
    assert names(ring) == {"main"}
    assert names(ring.rested("main", 9.0, LIMITED, 0.0)) == {"reserve"}


def test_a_key_serves_only_the_models_it_is_for():
    ring = KeyRing((Key("images", models=frozenset({"gpt-image-2"})), Key("any")))
    assert names(ring, "gpt-image-2") == {"images", "any"}
    assert names(ring, "other") == {"any"}


def test_no_key_for_a_model_says_so():
    error = failure(KeyRing((Key("images", models=frozenset({"a"})),)), "b")
    assert error.kind is REFUSED
    assert "model b" in error.message
    assert not error.may_have_run


def test_a_key_at_rest_is_left_alone_until_its_time():
    ring = RING.rested("main", 10.0, LIMITED, 0.0)
    assert names(ring, now=9.9) == {"spare"}
    assert names(ring, now=10.0) == {"main", "spare"}


def test_a_rest_for_one_model_leaves_the_key_to_the_others():
    ring = RING.rested("main", 10.0, LIMITED, 0.0, model="busy")
    assert names(ring, "busy") == {"spare"}
    assert names(ring, "quiet") == {"main", "spare"}


def test_when_all_are_rate_limited_the_error_says_when_the_first_is_back():
    ring = RING.rested("main", 30.0, LIMITED, 0.0).rested("spare", 12.0, LIMITED, 0.0)
    error = failure(ring, now=2.0)
    assert (error.kind, error.retry_after_s) == (LIMITED, 10.0)


def test_when_all_are_refused_the_error_is_about_our_keys():
    ring = RING.rested("main", 30.0, REFUSED, 0.0).rested("spare", 12.0, REFUSED, 0.0)
    assert failure(ring).kind is REFUSED


def test_one_key_that_only_has_to_wait_makes_it_a_matter_of_waiting():
    ring = RING.rested("main", 300.0, REFUSED, 0.0).rested("spare", 12.0, LIMITED, 0.0)
    error = failure(ring)
    assert (error.kind, error.retry_after_s) == (LIMITED, 12.0)


def test_a_key_refused_for_all_models_and_limited_for_one_counts_as_refused():
    ring = KeyRing((Key("main"),)).rested("main", 5.0, LIMITED, 0.0, "m").rested("main", 300.0, REFUSED, 0.0)
    assert failure(ring).kind is REFUSED


def test_keys_tried_already_are_avoided():
    assert names(RING, avoid={"main"}) == {"spare"}
    assert failure(RING, avoid={"main", "spare"}).kind is REFUSED


def test_a_rest_is_never_shortened():
    ring = RING.rested("main", 30.0, LIMITED, 0.0).rested("main", 5.0, LIMITED, 0.0)
    assert names(ring, now=10.0) == {"spare"}


def test_rests_that_are_over_are_forgotten():
    ring = RING
    for second in range(100):
        ring = ring.rested("main", second + 0.5, LIMITED, float(second), model=f"model-{second}")
    assert len(ring.rests) == 1


def test_a_key_that_is_not_in_the_ring_cannot_be_rested():
    assert RING.rested("stranger", 10.0, LIMITED, 0.0) == RING


def test_a_snapshot_shows_each_key_and_why_it_rests():
    ring = RING.rested("main", 10.0, LIMITED, 0.0, model="m")
    assert ring.snapshot(5.0) == {"main": {"m": Rest(10.0, LIMITED)}, "spare": {}}
    assert ring.snapshot(10.0) == {"main": {}, "spare": {}}


def test_two_keys_of_one_name_are_refused():
    with pytest.raises(ValueError, match="same name"):
        KeyRing((Key("main"), Key("main")))


@given(
    weights=st.lists(st.floats(0, 1e6), min_size=1, max_size=5),
    draw=st.floats(0, 1, exclude_max=True),
    rested=st.sets(st.integers(0, 4)),
)
def test_a_key_is_found_whenever_there_is_one(weights, draw, rested):
    ring = KeyRing(tuple(Key(str(at), weight) for at, weight in enumerate(weights)))
    for at in rested:
        ring = ring.rested(str(at), 10.0, LIMITED, 0.0)
    free = {str(at) for at in range(len(weights))} - {str(at) for at in rested}
    if free:
        assert ring.choose("m", 1.0, draw).name in free
    else:
        assert failure(ring, now=1.0).kind is LIMITED
