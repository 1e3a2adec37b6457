"""Points of a grid, as Hydra's own sweeper lists them, without listing them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import ConfigError
from moola.sweeps.grid import identifying, read_grid
from moola.sweeps.local import LocalSettings, Places

values = st.lists(st.integers(0, 9), min_size=1, max_size=4)
words_of_grids = st.lists(
    st.tuples(st.sampled_from(["a", "b.c", "+d", "group"]), values).map(
        lambda pair: f"{pair[0]}={','.join(map(str, pair[1]))}"
    ),
    min_size=1,
    max_size=4,
)


@given(words_of_grids)
def test_points_are_those_of_hydras_sweeper_in_its_order_and_counted_without_being_made(words):
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    [theirs] = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)
    ours = read_grid(words, None)
    assert [list(point) for point in ours] == theirs
    assert len(ours) == len(theirs)
    assert set(itertools.chain(*ours.samples)) == set(itertools.chain(*theirs))


def test_a_deletion_and_a_text_with_commas_are_one_value_each():
    grid = read_grid(["~model.minirocket", "name='a,b'", "x=choice(1,2)", "y=range(3)"], None)
    assert len(grid) == 6
    assert next(iter(grid)) == ("~model.minirocket", "name='a,b'", "x=1", "y=0")


def test_all_keys_without_a_value_are_told_at_once():
    with pytest.raises(ConfigError) as told:
        read_grid(["x=range(2,2)", "y=interval(0,1)", "z=1"], None)
    assert len(told.value.problems) == 2


def test_force_trackers_and_launchers_make_no_other_sweep():
    words = ["seeds=[0]", "force=[all]", "tracker=none", "+tracker.local.x=1", "hydra.launcher.n_jobs=2", "processes=1"]
    assert identifying(words) == ["seeds=[0]"]


@given(st.integers(1, 30), st.integers(1, 64), st.integers(0, 8), st.integers(1, 4), st.none() | st.integers(1, 40))
def test_places_take_what_there_is_and_each_gpu_as_many_as_was_said(n_points, cores, n_gpus, jobs_per_gpu, n_jobs):
    gpus = [str(gpu) for gpu in range(n_gpus)]
    places = Places.of(LocalSettings(n_jobs=n_jobs, jobs_per_gpu=jobs_per_gpu), n_points, cores, gpus)
    assert 1 <= len(places) <= n_points
    assert places.threads >= 1
    if n_jobs is None and gpus:
        assert all(places.gpus.count(gpu) <= jobs_per_gpu for gpu in gpus)
        assert len(places) == min(n_points, n_gpus * jobs_per_gpu)
    if not gpus:
        assert set(places.gpus) == {None}
