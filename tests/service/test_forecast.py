"""What heatmaps would cost, before anything is made."""

import json

from service.forecast import forecast_batch
from service.request import HeatmapRequest


def test_slide_that_would_fail_is_named_without_the_secrets_of_its_address() -> None:
    address = "http://user:secret@127.0.0.1:1/far.tiff?signature=secret"
    facts = forecast_batch([HeatmapRequest(slide=address)])
    assert facts["failing"] == 1
    assert facts["slides"][0]["slide"] == "http://127.0.0.1:1/far.tiff"
    assert "http://127.0.0.1:1/far.tiff: there is no such" in facts["slides"][0]["reason"]
    assert "secret" not in json.dumps(facts)


def test_malformed_address_would_fail_and_the_others_go_on() -> None:
    bad = ["https://[bad/x.svs", "https://user:se#cret@host/x.svs", "nowhere.svs"]
    facts = forecast_batch([HeatmapRequest(slide=address) for address in bad])
    malformed = ["the address is malformed" in slide["reason"] for slide in facts["slides"]]
    assert malformed == [True, True, False]
    assert "cret" not in json.dumps(facts)
