"""What a user does on the page, in a real browser."""

import pytest
from playwright.sync_api import expect

from tests.service.viewer.browsing import OpenViewer, make_api
from tests.service.viewer.fake_api import NO_MPP, problem

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def test_a_dropped_slide_becomes_an_overlay(open_viewer: OpenViewer):
    viewer = open_viewer()
    page, api = viewer.page, viewer.api
    viewer.drop("case 17.svs", "bytes of a slide")
    job = page.locator("#jobs .job")
    expect(job).to_contain_text("case 17.svs")
    expect(job).to_contain_text("queued")
    assert api.uploads == [b"bytes of a slide"]

    (job_id,) = api.jobs
    api.advance(job_id, state="running", stage="score", done=30, total=120, eta_s=90)
    expect(job).to_contain_text("score · 30 of 120 · about 2 min left")
    assert job.locator("progress").evaluate("bar => bar.value") == 0.25

    api.finish(job_id)
    viewer.wait_until_drawn()
    expect(job).to_contain_text("done")
    expect(job).to_have_attribute("aria-current", "true")
    assert any("slide_files" in request for request in api.requests)
    assert any("heatmap_files" in request for request in api.requests)


def test_progress_comes_by_asking_where_events_break(open_viewer: OpenViewer):
    api = make_api(breaks_streams=True)
    job_id = api.add_job(state="running", stage="mask")
    viewer = open_viewer(api=api)
    api.finish(job_id)
    expect(viewer.page.locator("#jobs .job")).to_contain_text("done")


def test_a_picked_file_is_sent_too(open_viewer: OpenViewer):
    viewer = open_viewer()
    file = {"name": "b.tif", "mimeType": "image/tiff", "buffer": b"picked"}
    viewer.page.set_input_files("#file", [file])
    expect(viewer.page.locator("#jobs .job")).to_contain_text("b.tif")
    assert viewer.api.uploads == [b"picked"]


def test_a_failed_job_shows_its_reason_as_text(open_viewer: OpenViewer):
    api = make_api()
    detail = "<img src=x onerror=alert(1)> is no TIFF"
    api.fail(api.add_job(), problem("corrupt-slide", "The slide is damaged", 422, detail))
    viewer = open_viewer(api=api)
    reason = viewer.page.locator("#jobs .reason")
    expect(reason).to_have_text("The slide is damaged. <img src=x onerror=alert(1)> is no TIFF")
    assert reason.locator("img").count() == 0


def test_a_running_job_can_be_cancelled(open_viewer: OpenViewer):
    api = make_api()
    api.add_job(state="running", stage="score")
    viewer = open_viewer(api=api)
    viewer.page.get_by_role("button", name="Cancel").click()
    expect(viewer.page.locator("#jobs .job")).to_contain_text("cancelled")


def test_a_missing_resolution_is_asked_for(open_viewer: OpenViewer):
    """Only the job opens the slide, and so it is the job that misses it."""
    viewer = open_viewer(api=make_api(jobs_need_mpp=True))
    viewer.drop("scan.png")
    viewer.page.get_by_label("Micrometres per pixel").fill("0.25")
    viewer.page.get_by_role("button", name="OK").click()
    expect(viewer.page.locator("#jobs .job")).to_have_count(2)
    assert viewer.api.job_requests == [
        {"slide_id": "sld_000001"},
        {"slide_id": "sld_000001", "params": {"mpp": 0.25}},
    ]
    assert len(viewer.api.uploads) == 1


def test_a_job_that_missed_the_resolution_is_started_again_with_it(open_viewer: OpenViewer):
    api = make_api()
    api.fail(api.add_job(), NO_MPP)
    viewer = open_viewer(api=api)
    viewer.page.get_by_role("button", name="Set resolution").click()
    viewer.page.get_by_label("Micrometres per pixel").fill("0.5")
    viewer.page.keyboard.press("Enter")
    expect(viewer.page.locator("#jobs .job")).to_have_count(2)
    assert api.job_requests == [{"slide_id": "sld_000001", "params": {"mpp": 0.5}}]


def test_the_threshold_asks_for_new_tiles_and_says_the_area_above_it(open_viewer: OpenViewer):
    viewer = open_viewer("?result=res_000001")
    page = viewer.page
    viewer.wait_until_drawn()
    area = page.locator("#area")
    # (600*500 + 400*400 + 400*300 + 100*100) px of (0.5 um)² = 147,500 um²
    expect(area).to_have_text("0.15 mm² scored tissue")
    with page.expect_request(lambda request: "threshold=0.42" in request.url.split("?")[-1]):
        page.get_by_role("button", name="Model’s threshold: 0.42").click()
    expect(area).to_have_text("0.15 mm² at or above 0.420 · 100 % of the scored tissue")
    viewer.wait_until_drawn()


def test_a_channel_is_shown_as_a_class_is_and_in_its_own_range(open_viewer: OpenViewer):
    viewer = open_viewer("?result=res_000001&threshold=0.4")
    viewer.wait_until_drawn()
    page = viewer.page
    with page.expect_request(lambda request: "class=uncertainty" in request.url) as asked:
        page.get_by_label("Class").select_option("uncertainty")
    assert "vmax=0.2" in asked.value.url
    assert "threshold" not in asked.value.url
    expect(page.get_by_label("Colours to")).to_have_value("0.2")
    with page.expect_request(lambda request: "vmax=1" in request.url):
        page.get_by_label("Class").select_option("idc")
    viewer.wait_until_drawn()


def test_the_probability_under_the_pointer_is_shown(open_viewer: OpenViewer):
    viewer = open_viewer("?result=res_000001&x=800&y=650&zoom=1")
    viewer.wait_until_drawn()
    box = viewer.page.locator("#slide").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    viewer.page.mouse.move(x + 0.5, y + 0.5)
    readout = viewer.page.locator("#readout")
    expect(readout).to_have_text("idc 1.000x 800, y 650 px · 400 µm, 325 µm")
    viewer.page.mouse.move(x - 320, y)
    expect(readout).to_contain_text("not scored")


def test_a_link_restores_what_was_seen(open_viewer: OpenViewer):
    query = "?result=res_000001&x=2800&y=1700&zoom=0.5&cmap=magma&threshold=0.3&opacity=0.4"
    viewer = open_viewer(query)
    page = viewer.page
    viewer.wait_until_drawn()
    expect(page.get_by_label("Colours", exact=True)).to_have_value("magma")
    expect(page.get_by_label("Threshold", exact=True)).to_have_value("0.3")
    expect(page.get_by_label("Opacity")).to_have_value("0.4")
    page.wait_for_url(f"**/viewer{query}")  # all of it is written back unchanged
    assert any("cmap=magma" in request for request in viewer.api.requests)
    assert not any("cmap=viridis" in request for request in viewer.api.requests)


def test_the_address_follows_the_view(open_viewer: OpenViewer):
    viewer = open_viewer("?result=res_000001&x=2500&y=1850&zoom=0.2")
    viewer.wait_until_drawn()
    viewer.page.get_by_role("button", name="Zoom in").click()
    viewer.page.wait_for_url("**&zoom=0.3")
    viewer.page.get_by_label("Opacity").fill("0.25")
    viewer.page.wait_for_url("**&opacity=0.25")


def test_keys_work_the_page(open_viewer: OpenViewer):
    viewer = open_viewer("?result=res_000001&x=800&y=650&zoom=0.5")
    page = viewer.page
    viewer.wait_until_drawn()
    shown, opacity = page.get_by_label("Show the heatmap"), page.get_by_label("Opacity")
    page.keyboard.press("h")
    expect(shown).not_to_be_checked()
    page.keyboard.press("]")
    expect(shown).to_be_checked()
    expect(opacity).to_have_value("0.7")
    page.keyboard.press("[")
    expect(opacity).to_have_value("0.6")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)

    page.get_by_role("application").focus()
    page.keyboard.press("+")
    expect(page.locator("#readout")).to_contain_text("idc 1.000")  # of the middle
    page.wait_for_url(lambda url: "zoom=0.5&" not in url + "&")


def test_a_letter_in_a_field_is_no_shortcut(open_viewer: OpenViewer):
    viewer = open_viewer("?result=res_000001")
    viewer.wait_until_drawn()
    viewer.page.get_by_label("Colours from").focus()
    viewer.page.keyboard.press("h")
    expect(viewer.page.get_by_label("Show the heatmap")).to_be_checked()


def test_a_key_is_asked_for_and_sent_with_tiles(open_viewer: OpenViewer):
    viewer = open_viewer("?result=res_000001", api=make_api(key="right"))
    page = viewer.page
    page.get_by_label("Key", exact=True).fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("not accepted")
    page.get_by_label("Key", exact=True).fill("right")
    page.keyboard.press("Enter")
    viewer.wait_until_drawn()
    assert page.evaluate("Object.values(sessionStorage)") == ["right"]
    with page.expect_download() as download:
        page.get_by_role("link", name="tiles.csv").click()
    assert download.value.suggested_filename == "tiles.csv"


def test_a_result_that_is_gone_says_so(open_viewer: OpenViewer):
    viewer = open_viewer("?result=res_gone")
    expect(viewer.page.locator("#empty")).to_have_text(
        "The result is gone. its result was kept for 30 days"
    )


def test_links_lead_to_this_service_only(open_viewer: OpenViewer):
    viewer = open_viewer("?result=res_000001")
    viewer.wait_until_drawn()
    expect(viewer.page.locator(".downloads a")).to_have_text(
        ["tiles.csv", "a.geojson.gz (regions)"]
    )


def test_it_always_says_research_use(open_viewer: OpenViewer):
    viewer = open_viewer()
    notice = viewer.page.get_by_text("Research use only. Not a medical device.")
    expect(notice).to_be_in_viewport()
    viewer.goto("?result=res_000001")
    viewer.wait_until_drawn()
    viewer.page.keyboard.press("f")
    viewer.page.wait_for_function("document.fullscreenElement !== null")
    expect(notice).to_be_in_viewport()
