"""What the owner of a failed job reads."""

from pathlib import Path

import pytest

from service.jobs.job import LONGEST_RETRY_S
from service.worker.failure import failure_of, lost_runner, retry_delay_s
from wsi.errors import CorruptSlide

RESULTS = Path("/srv/wsi/results/res_1")


@pytest.mark.parametrize(
    ("slide", "told"),
    [
        ("/srv/scans/Doe, Jane.svs", "Doe, Jane.svs: tile 7 is damaged"),
        ("/srv/scans/Doe, Jane.svs", "/srv/scans/Doe, Jane.svs: tile 7 is damaged"),
        ("/srv/scans/Doe, Jane.svs", "slide.svs: tile 7 is damaged"),  # as its worker calls it
        ("/srv/wsi/slides/sld_1/slide.tif", "slide.tif: tile 7 is damaged"),
        ("/srv/scans/Doe^Jane", "Doe^Jane: tile 7 is damaged"),
    ],
)
def test_the_slides_name_and_place_are_left_out(slide: str, told: str) -> None:
    problem = failure_of(CorruptSlide(told), Path(slide), RESULTS).problem
    assert problem["detail"] == "the slide: tile 7 is damaged"


@pytest.mark.parametrize("slide", ["/srv/scans/a", "/srv/scans/is", "/srv/scans/tif"])
def test_a_name_that_is_a_part_of_many_words_leaves_the_sentence_whole(slide: str) -> None:
    problem = failure_of(CorruptSlide("a tif that is damaged"), Path(slide), RESULTS).problem
    assert problem["detail"] == "a tif that is damaged"


def test_each_retry_waits_twice_as_long_as_the_one_before_up_to_a_limit() -> None:
    waits = [retry_delay_s(lost_runner("killed"), attempt, 5.0) for attempt in (1, 2, 3, 4, 99)]
    assert waits == [5, 10, 20, LONGEST_RETRY_S, LONGEST_RETRY_S]
