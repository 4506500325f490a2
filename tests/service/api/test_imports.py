"""The API's process decodes no slide and runs no network: seen from a fresh interpreter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.api.harness import Workshop

FORBIDDEN = {"torch", "openslide", "tiffslide", "tifffile", "imagecodecs"}

LACKING_IN_ITS_IMAGE = [
    *("aiohttp", "dask", "distributed", "h5py", "safetensors", "skimage", "sklearn"),
    *("torch", "torchvision"),
]
"""As tests/test_docker.py has it, less httpx, by which this test asks."""

CALL_EVERYTHING = """
import sys
sys.modules.update(dict.fromkeys({lacking!r}))
from pathlib import Path
from service.app import create_app
from service.settings import Settings
settings = Settings(data=Path({data!r}), model={model!r}, disk_floor_bytes=0)
create_app(settings)
def loaded():
    return {{name.partition(".")[0] for name, module in sys.modules.items() if module}}

print("created", *loaded())

import asyncio, hashlib, shutil, httpx
from service.jobs import NewResult

async def main():
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            slide = Path({slide!r}).read_bytes()
            job = (await client.post("/v1/heatmaps", content=slide)).json()
            queue = app.state.service.queue
            claimed = queue.claim("pretended")
            folder = settings.data / "results" / claimed.result_id
            shutil.copytree({result!r}, folder)
            made = (claimed.result_id, claimed.slide_id, claimed.work_key)
            queue.succeed(claimed, NewResult(*made, 1, "0" * 64))
            app.state.service.library.set_facts("local", claimed.slide_id, {{"size0": [96, 64]}})
            batch = (await client.post("/v1/batches", json={{"slides": [claimed.slide_id]}})).json()
            ids = dict(
                slide_id=claimed.slide_id, job_id=job["id"], result_id=claimed.result_id,
                batch_id=batch["id"], name="mean-channel", key="zarr.json",
                level=0, column=0, row=0, z=0, x=0, y=0,
            )
            query = "?x0=1&y0=1&threshold=0.25&kind=regions"
            for path, operations in app.openapi()["paths"].items():
                for method in operations:
                    if method == "delete":
                        continue
                    body = slide if path == "/v1/slides" and method == "post" else None
                    url = path.format(**ids) + (query if "{{" in path else "")
                    answer = await client.request(method.upper(), url, content=body)
                    print("called", method, path, answer.status_code)
            for accept in ("image/png", "image/tiff", "application/geo+json"):
                headers = {{"Accept": accept}}
                answer = await client.post("/v1/heatmaps", content=slide, headers=headers)
                print("called", "post", accept, answer.status_code)

asyncio.run(main())
print("called", *loaded())
"""


@pytest.mark.parametrize("lacking", [[], LACKING_IN_ITS_IMAGE], ids=["all there", "its image"])
def test_application_drags_in_no_decoder_and_no_network(
    workshop: Workshop, tmp_path: Path, lacking: list[str]
) -> None:
    """Nor does an address need what the image of the API does not hold."""
    slide = tmp_path / "slide.tiff"
    slide.write_bytes(workshop.slide_bytes())
    code = CALL_EVERYTHING.format(
        data=str(tmp_path / "data"),
        model=workshop.model,
        slide=str(slide),
        result=str(workshop.result),
        lacking=lacking,
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    created = next(line for line in lines if line.startswith("created"))
    assert set(created.split()) & FORBIDDEN == set()
    assert set(lines[-1].split()) & FORBIDDEN == set()
    answers = [line.split() for line in lines if line.startswith("called")][:-1]
    served = [line for line in answers if line[-1].startswith("2")]
    assert len(served) > 20, json.dumps(answers, indent=1)
