"""Stores of scores survive kills and notice damage."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from wsi.errors import ResultExists, StoreIncomplete, StoreMismatch
from wsi.store import RowWriter, ScoreStore, TileStore
from wsi.store.journal import FolderLock

COUNT = 1000
SHARD = 128


@pytest.fixture(params=["scores.zarr", "a slide with spaces 🔬.zarr", "x" * 200, "s3::a#b.zarr"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def make_positions(count: int = COUNT) -> NDArray[np.int64]:
    return np.stack([np.arange(count) * 800, np.arange(count) // 9 * 800], axis=1)


def make_scores(count: int = COUNT) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((count, 2), np.float32)


def create(path: Path, **changes: Any) -> RowWriter:
    options: dict[str, Any] = {
        "xy0": make_positions(),
        "classes": ("non_idc", "idc"),
        "made_from": {"slide_sha256": "ab", "card_sha256": "cd", "stride_px": 50},
        "shard_rows": SHARD,
    }
    return ScoreStore.create(path, **(options | changes))


def fill(writer: RowWriter, scores: NDArray[np.float32], stop: int | None = None) -> None:
    """Batches of 50, which no shard is a multiple of."""
    for rows in writer.missing:
        for start in range(rows.start, min(rows.stop, stop or rows.stop), 50):
            end = min(start + 50, rows.stop, stop or rows.stop)
            writer.write(start, scores[start:end])


def write_scores(path: Path, **changes: Any) -> None:
    with create(path, **changes) as writer:
        fill(writer, make_scores())
        writer.finish()


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_scores_come_back_as_they_were_written(path: Path):
    write_scores(path)
    store = ScoreStore.open(path)
    assert np.array_equal(store.prob, make_scores())
    assert np.array_equal(store.xy0, make_positions())
    assert store.classes == ("non_idc", "idc")
    assert store.made_from["card_sha256"] == "cd"
    assert not partial(path).exists()


def test_channels_come_back_beside_the_probabilities(path: Path):
    columns = np.random.default_rng(5).random((COUNT, 3), np.float32)
    with ScoreStore.create(path, make_positions(), ("a", "b"), {}, channels=("raw",)) as writer:
        writer.write(0, columns)
        writer.finish()
    store = ScoreStore.open(path)
    np.testing.assert_array_equal(store.prob, columns[:, :2])
    np.testing.assert_array_equal(store.channels["raw"], columns[:, 2])


def test_scores_that_were_stopped_without_a_channel_are_not_gone_on_with(path: Path):
    with ScoreStore.create(path, make_positions(), ("a", "b"), {}) as writer:
        writer.write(0, make_scores())
    with pytest.raises(StoreMismatch, match="channels"):
        ScoreStore.create(path, make_positions(), ("a", "b"), {}, channels=("raw",))


def test_another_program_reads_scores_by_zarr_alone(path: Path):
    write_scores(path)
    group: Any = zarr.open_group(LocalStore(path), mode="r")
    assert np.array_equal(group["prob"][...], make_scores())
    assert group["prob"].dtype == np.float32
    assert group["xy0"].dtype == np.int64


def test_a_slide_without_tissue_has_a_store_without_rows(tmp_path: Path):
    with create(tmp_path / "scores.zarr", xy0=make_positions(0)) as writer:
        assert writer.missing == []
        writer.finish()
    assert ScoreStore.open(tmp_path / "scores.zarr").prob.shape == (0, 2)


def test_scores_that_all_equal_the_fill_value_are_still_written(tmp_path: Path):
    path = tmp_path / "scores.zarr"
    nothing = np.full((COUNT, 2), np.nan, np.float32)
    with create(path) as writer:
        fill(writer, nothing, stop=SHARD * 3)
    with create(path) as writer:
        assert writer.done == {0, 1, 2}
        fill(writer, nothing)
    with create(path) as writer:
        assert writer.missing == []


def test_a_stopped_run_goes_on_at_its_first_missing_shard(path: Path):
    with create(path) as writer:
        fill(writer, make_scores(), stop=SHARD * 3 + 70)
    with pytest.raises(StoreIncomplete, match="it goes on where it was"):
        ScoreStore.open(path)
    with create(path) as writer:
        assert writer.missing == [range(SHARD * 3, COUNT)]
        fill(writer, make_scores())
        writer.finish()
    assert np.array_equal(ScoreStore.open(path).prob, make_scores())


def test_a_store_that_was_stopped_is_byte_for_byte_that_of_an_undisturbed_run(tmp_path: Path):
    with create(tmp_path / "stopped.zarr") as writer:
        fill(writer, make_scores(), stop=SHARD * 3)
    (partial(tmp_path / "stopped.zarr") / "prob" / "c" / "1" / "0").unlink()
    write_scores(tmp_path / "stopped.zarr")
    write_scores(tmp_path / "straight.zarr")
    assert files(tmp_path / "stopped.zarr") == files(tmp_path / "straight.zarr")


def test_a_file_that_a_kill_left_half_written_is_not_in_the_finished_store(tmp_path: Path):
    write_scores(tmp_path / "undisturbed")
    with create(tmp_path / "stopped") as writer:
        fill(writer, make_scores(), stop=SHARD)
    shards = partial(tmp_path / "stopped") / "prob" / "c" / "1"
    shards.mkdir()
    (shards / "0.5ab9.partial").write_bytes(b"half")  # as zarr's local store names them
    write_scores(tmp_path / "stopped")
    assert files(tmp_path / "stopped") == files(tmp_path / "undisturbed")


@pytest.mark.parametrize("shard", [1, COUNT // SHARD])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_shard_is_noticed_and_only_it_is_made_again(
    tmp_path: Path, damage: str, shard: int
):
    path = tmp_path / "scores.zarr"
    with create(path) as writer:
        fill(writer, make_scores())
    file = partial(path) / "prob" / "c" / str(shard) / "0"
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    else:
        content[20] ^= 1
        file.write_bytes(bytes(content[: 30 if damage == "cut" else None]))
    with create(path) as writer:
        assert writer.missing == [range(shard * SHARD, min(COUNT, (shard + 1) * SHARD))]
        fill(writer, make_scores())
        writer.finish()
    assert np.array_equal(ScoreStore.open(path).prob, make_scores())


def test_damage_of_a_complete_store_is_noticed_when_it_is_opened(tmp_path: Path):
    path = tmp_path / "scores.zarr"
    write_scores(path)
    (path / "prob" / "c" / "2" / "0").write_bytes(b"rubbish")
    with pytest.raises(StoreIncomplete, match="shard 2 is damaged"):
        ScoreStore.open(path)


def test_a_line_of_the_journal_that_was_cut_short_costs_its_shard_only(tmp_path: Path):
    path = tmp_path / "scores.zarr"
    with create(path) as writer:
        fill(writer, make_scores(), stop=SHARD * 3)
    journal = partial(path) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    with create(path) as writer:
        assert writer.done == {0, 1}
        fill(writer, make_scores(), stop=SHARD * 3)
    with create(path) as writer:
        assert writer.done == {0, 1, 2}


@pytest.mark.parametrize("keep", ["nothing", "group", "positions"])
def test_a_run_that_was_stopped_while_it_began_begins_again(tmp_path: Path, keep: str):
    path = tmp_path / "scores.zarr"
    with create(path):
        pass
    metadata = partial(path) / "zarr.json"
    if keep == "nothing":
        metadata.unlink()
    elif keep == "group":
        metadata.write_text(json.dumps({"zarr_format": 3, "node_type": "group"}))
    else:
        next((partial(path) / "xy0" / "c").rglob("0/0")).write_bytes(b"rubbish")
    write_scores(path)
    assert np.array_equal(ScoreStore.open(path).prob, make_scores())


def test_a_stopped_run_of_something_else_is_refused_by_name_or_thrown_away(tmp_path: Path):
    path = tmp_path / "scores.zarr"
    with create(path) as writer:
        fill(writer, make_scores(), stop=SHARD * 3)
    other = {"slide_sha256": "ab", "card_sha256": "ef", "stride_px": 50}
    with pytest.raises(StoreMismatch, match="card_sha256: 'cd' there, 'ef' here"):
        create(path, made_from=other)
    with pytest.raises(StoreMismatch, match="xy0_sha256"):
        create(path, xy0=make_positions() + 1)
    with create(path, made_from=other, restart=True) as writer:
        assert writer.done == frozenset()


def test_a_complete_store_is_not_overwritten_unless_asked(tmp_path: Path):
    path = tmp_path / "scores.zarr"
    write_scores(path)
    with pytest.raises(ResultExists, match=r"scores\.zarr is already there"):
        create(path)
    write_scores(path, made_from={"slide_sha256": "other"}, overwrite=True)
    assert ScoreStore.open(path).made_from == {"slide_sha256": "other"}
    assert [p.name for p in tmp_path.iterdir()] == ["scores.zarr"]


def test_a_run_that_was_killed_before_its_rename_only_renames(tmp_path: Path):
    path = tmp_path / "scores.zarr"
    write_scores(path)
    path.rename(partial(path))
    with create(path) as writer:
        assert writer.missing == []
        writer.finish()
    assert np.array_equal(ScoreStore.open(path).prob, make_scores())


def test_two_writers_of_one_store_are_refused(tmp_path: Path):
    with (
        create(tmp_path / "scores.zarr"),
        pytest.raises(StoreIncomplete, match="another process is writing"),
    ):
        create(tmp_path / "scores.zarr")


def test_a_lock_that_was_closed_stops_nobody_though_a_child_still_has_its_descriptor(
    tmp_path: Path,
):
    """As between the fork and the exec of a process that another thread starts."""
    lock = FolderLock(tmp_path)
    child = os.dup(lock._descriptor)
    lock.close()
    FolderLock(tmp_path).close()
    os.close(child)


def test_finishing_with_rows_missing_is_refused(tmp_path: Path):
    with create(tmp_path / "scores.zarr") as writer:
        fill(writer, make_scores(), stop=SHARD * 7)
        with pytest.raises(StoreIncomplete, match="tiles 896 to 999 of 1000"):
            writer.finish()
    assert not (tmp_path / "scores.zarr").exists()


def test_rows_with_a_gap_or_of_another_shape_are_refused(tmp_path: Path):
    scores = make_scores()
    with create(tmp_path / "scores.zarr") as writer:
        with pytest.raises(StoreMismatch, match="row 5 is not the first of a shard"):
            writer.write(5, scores[5:10])
        writer.write(0, scores[:10])
        with pytest.raises(StoreMismatch, match="row 20 was given where 10 is next"):
            writer.write(20, scores[20:30])
        with pytest.raises(StoreMismatch, match="do not fit"):
            writer.write(10, np.zeros((5, 3), np.float32))


def test_a_store_of_another_schema_or_kind_is_refused(tmp_path: Path):
    path = tmp_path / "scores.zarr"
    write_scores(path)
    with pytest.raises(StoreMismatch, match="no tiles store"):
        TileStore.open(path)
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["wsi"]["schema_version"] = 99
    (path / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(StoreMismatch, match="schema version 99, this program reads 1"):
        ScoreStore.open(path)


def test_where_there_is_no_store_the_message_says_what_makes_one(tmp_path: Path):
    with pytest.raises(StoreIncomplete, match="there is no scores store"):
        ScoreStore.open(tmp_path / "scores.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(StoreIncomplete, match="cannot be read"):
        ScoreStore.open(tmp_path / "empty.zarr")


VICTIM = """
import sys
from pathlib import Path
import numpy as np
from wsi.store import ScoreStore

given = np.load(sys.argv[2])
made_from = {"slide_sha256": "ab", "card_sha256": "cd", "stride_px": 50}
path, classes = Path(sys.argv[1]), ("non_idc", "idc")
with ScoreStore.create(path, given["xy0"], classes, made_from, shard_rows=128) as writer:
    for start in range(0, 1000, 10):
        writer.write(start, given["prob"][start : start + 10])
        print(start + 10, flush=True)
        sys.stdin.readline()
"""


@pytest.mark.parametrize("killed_at", [510, 640])
def test_kill_9_loses_at_most_two_shards_and_the_result_is_the_same(tmp_path: Path, killed_at: int):
    path = tmp_path / "scores.zarr"
    np.savez(tmp_path / "given.npz", xy0=make_positions(), prob=make_scores())
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, path, tmp_path / "given.npz"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert victim.stdin is not None
    assert victim.stdout is not None
    with victim:
        while int(victim.stdout.readline()) < killed_at:
            victim.stdin.write("\n")
            victim.stdin.flush()
        os.kill(victim.pid, signal.SIGKILL)
    assert victim.returncode == -signal.SIGKILL
    with create(path) as writer:
        assert killed_at - len(writer.done) * SHARD <= 2 * SHARD
        assert writer.missing == [range(killed_at // SHARD * SHARD, COUNT)]
        fill(writer, make_scores())
        writer.finish()
    assert np.array_equal(ScoreStore.open(path).prob, make_scores())
