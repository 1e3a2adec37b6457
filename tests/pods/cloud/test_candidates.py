"""Which places are tried, and in which order."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.errors import ConfigError
from moola.pods.candidates import GpuStock, offers_for
from moola.pods.provider import CLOUD_TIERS, NoCapacityError, PodWish, Stock

LEVELS = get_args(Stock)


def gpu(name: str, price: float = 1.0, stock: Stock = "HIGH", **more: Any) -> GpuStock:
    values = {"vram_gb": 24, "cloud": "SECURE", "max_count": 8} | more
    return GpuStock(gpu=f"NVIDIA {name}", name=name, price_per_h=price, stock=stock, **values)


CATALOG = [
    gpu("GeForce RTX 4090", 0.69, data_centers={"US-KS-2": "LOW", "EU-RO-1": "HIGH", "EU-CZ-1": "NONE"}),
    gpu("GeForce RTX 4090", 0.34, cloud="COMMUNITY"),
    gpu("RTX A5000", 0.36, "MEDIUM", data_centers={"EU-RO-1": "MEDIUM"}),
    gpu("A100 PCIe", 1.64, vram_gb=80, data_centers={"US-KS-2": "HIGH"}),
    gpu("A100 SXM", 1.89, vram_gb=80, data_centers={"US-KS-2": "HIGH"}),
    gpu("H100 SXM", 2.99, "NONE", vram_gb=80),
]


def tried(wish: PodWish) -> list[tuple[str, str, str]]:
    return [(one.gpu_name, one.data_center, one.cloud[0]) for one in offers_for(CATALOG, wish)]


def test_the_cheapest_is_tried_first_and_stock_chooses_among_its_data_centres():
    assert tried(PodWish(min_vram_gb=0, max_price_per_h=1.0)) == [
        ("GeForce RTX 4090", "", "C"),
        ("RTX A5000", "EU-RO-1", "S"),
        ("GeForce RTX 4090", "EU-RO-1", "S"),
        ("GeForce RTX 4090", "US-KS-2", "S"),
    ]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("RTX 4090", {"GeForce RTX 4090"}),
        ("4090", {"GeForce RTX 4090"}),
        ("nvidia geforce rtx 4090", {"GeForce RTX 4090"}),
        ("A5000", {"RTX A5000"}),
        ("A100", {"A100 PCIe", "A100 SXM"}),
        ("a100 sxm", {"A100 SXM"}),
    ],
)
def test_a_gpu_is_known_by_what_people_call_it(name, names):
    assert {one.gpu_name for one in offers_for(CATALOG, PodWish(gpus=(name,)))} == names


def test_a_name_that_another_begins_with_means_only_itself():
    catalog = [gpu("RTX 4090"), gpu("RTX 4090 D")]
    assert [one.gpu_name for one in offers_for(catalog, PodWish(gpus=("RTX 4090",)))] == ["RTX 4090"]


def test_every_name_that_nobody_has_is_told_at_once_with_near_ones():
    wish = PodWish(gpus=("RTX 4090", "RTX A5O00", "Voodoo 2"), data_centers=("EU-R0-1",))
    with pytest.raises(ConfigError) as caught:
        offers_for(CATALOG, wish)
    assert len(caught.value.problems) == 3
    assert "did you mean 'RTX A5000'" in caught.value.problems[0]
    assert "Voodoo 2" in caught.value.problems[1]
    assert "'EU-RO-1'" in caught.value.problems[2]


def test_a_data_centre_without_any_gpu_is_no_typing_error():
    with pytest.raises(NoCapacityError, match="out of stock in AP-JP-1"):
        offers_for(CATALOG, PodWish(data_centers=("AP-JP-1",)), ["AP-JP-1"])


def test_a_place_that_the_lender_would_choose_is_no_named_data_centre():
    assert ("GeForce RTX 4090", "", "C") not in tried(PodWish(data_centers=("EU-RO-1",)))


def test_several_gpus_cost_as_much_and_must_fit_one_machine():
    catalog = [gpu("A", 1.0, max_count=2), gpu("B", 1.5)]
    assert [(one.gpu_name, one.price_per_h) for one in offers_for(catalog, PodWish(count=4))] == [("B", 6.0)]
    with pytest.raises(NoCapacityError, match=r"\$6.00/h"):
        offers_for(catalog, PodWish(count=4, max_price_per_h=5.99))


def test_what_stands_in_the_way_is_told_the_nearest_miss_first():
    with pytest.raises(NoCapacityError) as caught:
        offers_for(CATALOG, PodWish(min_vram_gb=80, max_price_per_h=1.0))
    lines = caught.value.why.splitlines()
    assert lines[0] == "- GeForce RTX 4090 (community) has 24 GB, 80 are asked for"
    assert "- A100 PCIe (secure) costs $1.64/h, $1.00 are allowed" in lines


def test_a_price_that_is_just_paid_is_allowed():
    assert offers_for([gpu("A", 0.3)], PodWish(max_price_per_h=0.9, count=3))


stocks = st.builds(
    GpuStock,
    gpu=st.sampled_from(["g1", "g2", "g3"]),
    name=st.sampled_from(["One", "Two", "Three"]),
    vram_gb=st.integers(8, 96),
    cloud=st.sampled_from(CLOUD_TIERS),
    price_per_h=st.floats(0.01, 10),
    max_count=st.integers(1, 8),
    stock=st.sampled_from(LEVELS),
    data_centers=st.dictionaries(st.sampled_from(["X", "Y", "Z"]), st.sampled_from(LEVELS)),
)


@settings(max_examples=40)
@given(
    st.lists(stocks, max_size=8),
    st.integers(0, 96),
    st.none() | st.floats(0.01, 20),
    st.integers(1, 4),
    st.sampled_from([("SECURE",), ("COMMUNITY",), CLOUD_TIERS]),
)
def test_every_offer_meets_the_wish_and_none_is_dearer_than_the_next(catalog, vram, price, count, cloud):
    wish = PodWish(min_vram_gb=vram, max_price_per_h=price, count=count, cloud=cloud)
    try:
        offers = offers_for(catalog, wish)
    except NoCapacityError:
        offers = []
    assert [one.price_per_h for one in offers] == sorted(one.price_per_h for one in offers)
    for one in offers:
        assert one.vram_gb >= vram and one.cloud in cloud and one.stock != "NONE" and one.count == count
        assert price is None or one.price_per_h <= price
    fitting = [
        one
        for one in catalog
        if one.vram_gb >= vram
        and one.max_count >= count
        and one.cloud in cloud
        and (price is None or one.price_per_h * count <= price)
        and any(level != "NONE" for level in (one.data_centers.values() or [one.stock]))
    ]
    assert bool(fitting) == bool(offers)


def test_a_wish_that_makes_no_sense_is_refused_with_all_that_is_wrong():
    with pytest.raises(ConfigError) as caught:
        PodWish(min_vram_gb=-1, max_price_per_h=0, cloud=("SPOT",), disk_gb=0, count=0, image="", min_cuda="12")  # type: ignore[arg-type]
    assert len(caught.value.problems) == 7
    with pytest.raises(ConfigError, match="cloud is empty"):
        PodWish(cloud=())


@pytest.mark.parametrize(
    ("image", "floor"),
    [
        ("runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404", "12.8"),
        ("runpod/pytorch:1.0.3-cu1300-torch291-ubuntu2404", "13.0"),
        ("runpod/pytorch:1.0.2-cu1290-torch280-ubuntu2204", "12.9"),
        ("nvcr.io/nvidia/pytorch:25.09-py3", ""),
    ],
)
def test_the_driver_must_be_as_new_as_the_images_cuda(image, floor):
    assert PodWish(image=image).cuda_floor == floor
    assert PodWish(image=image, min_cuda="12.1").cuda_floor == "12.1"
