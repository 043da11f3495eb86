"""A Spec's arrays as LeRobot v3 features: names, parquet types, table rows and statistics.

Layout of one row (timestep), for a Spec with cameras, continuous and integer observations:
    observation.images.<camera>   PNG bytes, RGB           one per Image
    observation.state             float32, concatenated    all Continuous, in key order
    observation.<key>             int64, string            one per Discrete, one per Text
    action                        float32 or int64
    executed                      like action              what was done, where it was recorded
    privileged.<key>              float32                  simulator truth, never an observation
    next.reward, next.done, next.success; timestamp, frame_index, episode_index, index, task_index
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gato_core.episode import Episode
from gato_core.spec import Continuous, Image, Spec, Text

STATE = "observation.state"
ACTION = "action"
EXECUTED = "executed"
REWARD = "next.reward"
SUCCESS = "next.success"
PRIVILEGED = "privileged."
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCALARS = {
    REWARD: "float32",
    "next.done": "bool",
    SUCCESS: "bool",
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def feature_names(spec: Spec) -> dict[str, str]:
    """{observation key: feature}; all Continuous keys share `observation.state`.

    Raises ValueError when two keys would get one feature name.
    """
    names: dict[str, str] = {}
    for key, modality in spec.observation.items():
        plain = key.replace("/", ".")
        if isinstance(modality, Image):
            names[key] = f"observation.images.{plain.removesuffix('.pixels')}"
        elif isinstance(modality, Continuous):
            names[key] = STATE
        else:
            names[key] = f"observation.{plain}"
    own = [name for name in names.values() if name != STATE]
    if len(set(own)) != len(own):
        raise ValueError(f"observation: expected keys with distinct feature names, got {names}")
    return names


def state_slices(spec: Spec) -> dict[str, slice]:
    """{Continuous observation key: its columns within `observation.state`}."""
    slices, start = {}, 0
    for key, modality in spec.observation.items():
        if isinstance(modality, Continuous):
            slices[key] = slice(start, start + modality.num_tokens)
            start += modality.num_tokens
    return slices


def features(
    spec: Spec, privileged: Mapping[str, int], *, executed: bool = False
) -> dict[str, dict]:
    """The `features` table of meta/info.json; privileged: {key: number of values}.

    executed: whether there is a column of what was done, beside the labels.
    """
    table: dict[str, dict] = {}
    names = feature_names(spec)
    for key, modality in spec.observation.items():
        if isinstance(modality, Image):
            axes = ["height", "width", "channels"]
            table[names[key]] = _feature("image", modality.shape, axes)
        elif isinstance(modality, Text):
            table[names[key]] = _feature("string", (1,), None)
        elif not isinstance(modality, Continuous):
            labels = [f"{key}/{i}" for i in range(modality.num_tokens)]
            table[names[key]] = _feature("int64", modality.shape, labels)
    vectors = [(k, m) for k, m in spec.observation.items() if isinstance(m, Continuous)]
    state = [f"{key}/{name}" for key, modality in vectors for name in modality.names]
    if state:
        table[STATE] = _feature("float32", (len(state),), state)
    dtype = "float32" if isinstance(spec.action, Continuous) else "int64"
    for name in (ACTION, EXECUTED) if executed else (ACTION,):
        table[name] = _feature(dtype, spec.action.shape, list(spec.action.names))
    for key, size in sorted(privileged.items()):
        labels = [f"{key}/{i}" for i in range(size)]
        table[PRIVILEGED + key] = _feature("float32", (size,), labels)
    return table | {name: _feature(dtype, (1,), None) for name, dtype in SCALARS.items()}


def differences(
    expected: Mapping[str, dict], got: Mapping[str, dict], names: list[str]
) -> list[str]:
    """Every way in which the named features of a folder are unlike the expected, a line each.

    Video is as good as images, and a name without its key as one with it; a folder that does not
    name its dimensions is believed.
    """
    lines = []
    for name in names:
        if name not in got:
            lines.append(f"{name}: expected {expected[name]['shape']}, got no such feature")
            continue
        ours, theirs = expected[name], got[name]
        kind = "image" if theirs["dtype"] == "video" else theirs["dtype"]
        named = None if ours["dtype"] == "image" else labels(theirs)
        plain = [label.rsplit("/", 1)[-1] for label in ours["names"] or []]
        for what, wanted, found in (
            ("dtype", ours["dtype"], kind),
            ("shape", ours["shape"], list(theirs["shape"])),
            ("names", ours["names"], ours["names"] if named in (None, plain) else named),
        ):
            if wanted != found:
                lines.append(f"{name}: expected {what} {wanted}, got {found}")
    return lines


def labels(feature: Mapping) -> list[str] | None:
    """What a feature's numbers are called, each name once; None where nobody says.

    Others give a list, a list for each arm ({"left": [...], "right": [...]}) or places ({"x": 0}).
    A name that several numbers have gets its arm before it, or else its place behind it.
    """
    count, names = math.prod(feature["shape"]), feature["names"]
    pairs = _named(names)
    if isinstance(names, Mapping) and sorted(map(repr, names.values())) == sorted(
        map(repr, range(count))
    ):
        pairs = [("", name) for name in sorted(names, key=names.__getitem__)]
    if pairs is None or len(pairs) != count:
        return None
    for choice in (
        [name for _, name in pairs],
        [f"{group}.{name}" if group else name for group, name in pairs],
        [f"{name}.{place}" for place, (_, name) in enumerate(pairs)],
    ):
        if len(set(choice)) == count:
            return choice
    return None


def places(feature: Mapping) -> list[str]:
    """The labels of a feature's numbers, or "0", "1", ... where it has none."""
    return labels(feature) or [str(i) for i in range(math.prod(feature["shape"]))]


def schema(table: Mapping[str, dict]) -> pa.Schema:
    """The parquet schema of a features table, with the metadata the `datasets` library reads."""
    fields: list[pa.Field] = []
    described: dict[str, dict[str, object]] = {}
    for name, feature in table.items():
        fields.append(pa.field(name, _parquet_type(feature)))
        value: dict[str, object] = {"dtype": feature["dtype"], "_type": "Value"}
        if feature["dtype"] == "image":
            described[name] = {"_type": "Image"}
        elif tuple(feature["shape"]) == (1,):
            described[name] = value
        else:
            length = feature["shape"][0]
            described[name] = {"feature": value, "length": length, "_type": "List"}
    metadata = json.dumps({"info": {"features": described}})
    return pa.schema(fields, metadata={"huggingface": metadata})


def columns(episode: Episode, spec: Spec) -> dict[str, np.ndarray]:
    """Per-timestep arrays of an episode by feature name, images as uint8; indices left out."""
    arrays: dict[str, np.ndarray] = {}
    for key, name in feature_names(spec).items():
        if name != STATE:
            arrays[name] = np.asarray(episode.observation[key])
            if isinstance(spec.observation[key], Text) and arrays[name].dtype.kind not in "OU":
                raise ValueError(
                    f"{key}: expected strings, which a dataset keeps for any vocabulary, got "
                    f"{arrays[name].dtype}"
                )
    if slices := state_slices(spec):
        parts = [np.asarray(episode.observation[key], np.float32) for key in slices]
        arrays[STATE] = np.concatenate(parts, axis=1)
    dtype = np.float32 if isinstance(spec.action, Continuous) else np.int64
    arrays[ACTION] = np.asarray(episode.action, dtype)
    if episode.executed is not None:
        arrays[EXECUTED] = np.asarray(episode.executed, dtype)
    for key, value in episode.privileged.items():
        arrays[PRIVILEGED + key] = np.asarray(value, np.float32).reshape(len(episode), -1)
    last = np.arange(len(episode)) == len(episode) - 1
    arrays[REWARD] = np.asarray(episode.reward, np.float32)
    arrays["next.done"] = last
    arrays[SUCCESS] = last & bool(episode.success)
    return arrays


def to_table(arrays: Mapping[str, np.ndarray], table_schema: pa.Schema) -> pa.Table:
    """Arrays by feature name to one parquet table; images become PNG."""
    parts = [_parquet_array(arrays[field.name], field.type) for field in table_schema]
    return pa.Table.from_arrays(parts, schema=table_schema)


def to_numpy(column: pa.Array, shape: list[int], where: str) -> np.ndarray:
    """Numbers (T, *shape) from a column of scalars or of lists.

    Raises ValueError naming `where` for lists of other sizes, nothing, or what is no number.
    """
    values, sides, is_whole = column, [], not column.null_count
    while is_whole and (pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
                        or pa.types.is_fixed_size_list(values.type)):  # fmt: skip
        lengths = pc.unique(pc.list_value_length(values)).to_pylist()
        values, is_whole = values.flatten(), len(lengths) == 1
        is_whole = is_whole and not values.null_count
        sides.append(lengths[0] if len(lengths) == 1 else lengths)
    kind = values.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not (is_whole and is_number and math.prod(sides) == math.prod(shape)):
        raise ValueError(
            f"{where}: expected numbers of shape {list(shape)}, got {column.type} of {sides}, "
            f"{column.null_count or values.null_count} of them nothing"
        )
    return values.to_numpy(zero_copy_only=False).reshape(-1, *shape)


def to_strings(column: pa.Array, where: str) -> np.ndarray:
    """Strings (T,), equal ones as one object. Raises ValueError naming `where` for others."""
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not is_text or column.null_count:
        raise ValueError(
            f"{where}: expected strings, got {column.type}, {column.null_count} of them nothing"
        )
    encoded = column.dictionary_encode()
    words = np.array(encoded.dictionary.to_pylist(), object)
    return words[encoded.indices.to_numpy()]


def index_columns(row: Mapping, frames_per_second: int) -> dict[str, np.ndarray]:
    frame = np.arange(row["length"])
    return {
        "timestamp": (frame / frames_per_second).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full_like(frame, row["episode_index"]),
        "index": frame + row["dataset_from_index"],
        "task_index": np.full_like(frame, row["task_index"]),
    }


def encode_png(image: np.ndarray) -> bytes:
    """uint8 (height, width, 3) RGB to PNG; lossless."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def decode_png(data: bytes | pa.Buffer, shape: tuple[int, ...], name: str) -> np.ndarray:
    """PNG to uint8 RGB. Raises ValueError, naming the feature, unless it decodes to this shape."""
    image = decode_image(data, name)
    if image.shape != shape:
        raise ValueError(f"{name}: expected a PNG of {shape}, got {image.shape}")
    return image


def decode_image(data: bytes | pa.Buffer, name: str) -> np.ndarray:
    """PNG or JPEG to uint8 (height, width, 3) RGB.

    Raises ValueError, naming the feature, for what is no picture or one of 16 bits, such as depth.
    """
    data = memoryview(data)
    if bytes(data[:8]) == PNG_SIGNATURE and bytes(data[24:25]) == b"\x10":
        raise ValueError(f"{name}: expected a picture of 8 bits, got a PNG of 16, such as depth")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # no bytes at all, or a header that promises too many pixels
        image = None
    if image is None:
        raise ValueError(f"{name}: expected PNG or JPEG, got {len(data)} bytes that are no image")
    return image


def check_finite(arrays: Mapping[str, np.ndarray], table: Mapping[str, dict], where: str) -> None:
    """Raises ValueError naming the feature, timestep and dimension of the first NaN."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            step, *dimension = np.argwhere(~np.isfinite(array))[0]
            labels = table[name]["names"]
            label = labels[dimension[0]] if labels and dimension else name
            raise ValueError(
                f"{where}: {name}: expected finite values, got {array[step]} "
                f"at timestep {step} ({label})"
            )


def _named(names: object, group: str = "") -> list[tuple[str, str]] | None:
    """(group, name) of each number; None for what is no name."""
    if isinstance(names, str | int) and not isinstance(names, bool):
        return [(group, str(names))]
    if isinstance(names, Mapping):
        parts = [_named(part, str(key)) for key, part in names.items()]
    elif isinstance(names, list):
        parts = [_named(part, group) for part in names]
    else:
        return None
    named = [part for part in parts if part is not None]
    return [pair for part in named for pair in part] if len(named) == len(parts) else None


def _feature(dtype: str, shape: tuple[int, ...], names: list[str] | None) -> dict:
    return {"dtype": dtype, "shape": list(shape), "names": names}


def _parquet_type(feature: Mapping) -> pa.DataType:
    if feature["dtype"] == "image":
        return IMAGE_TYPE
    value = pa.bool_() if feature["dtype"] == "bool" else pa.type_for_alias(feature["dtype"])
    # LeRobot stores vectors of one value as scalars
    return value if tuple(feature["shape"]) == (1,) else pa.list_(value, feature["shape"][0])


def _parquet_array(array: np.ndarray, kind: pa.DataType) -> pa.Array:
    if kind == IMAGE_TYPE:
        data = pa.array([encode_png(image) for image in array], pa.binary())
        return pa.StructArray.from_arrays(
            [data, pa.nulls(len(array), pa.string())], fields=list(kind)
        )
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.ascontiguousarray(array).reshape(-1), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    return pa.array(array.reshape(-1), kind)
