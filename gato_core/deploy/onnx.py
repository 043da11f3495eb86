"""Exports a checkpoint's control step to ONNX, the cache as inputs and outputs: `gato export`.

`load` runs it by ONNX Runtime and needs no torch.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from gato_core.embodiment import Embodiment, choose
from gato_core.policy import GatoPolicy
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import Vocabulary
from gato_core.window import StepInputs

if TYPE_CHECKING:
    from gato_core.model import Gato

FORMAT_VERSION = 3
OPSET = 18
METADATA = "gato"  # key of the model's metadata under which a JSON text says what the graph does
PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
MAX_BYTES = 2e9  # of weights; a protobuf holds no more
MIN_AGREEMENT = 0.99  # of action ids with torch's: rounding decides between nearly equal logits


@dataclass(frozen=True)
class ExportConfig:
    """Exports a checkpoint's control step to ONNX, and proves that it acts like the checkpoint.

    example: gato export checkpoints/control --out control.onnx
    """

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """A checkpoint's folder."""
    embodiment: str | None = None
    """Which of its embodiments, where there are several."""
    out: Path = Path("model.onnx")
    """The file to write."""
    keep_prompt: bool = False
    """Prompts stay in context for the whole episode."""


def choose_providers(present: Sequence[str], wanted: Sequence[str] | None = None) -> list[str]:
    """Of what ONNX Runtime has here: the wanted ones, else TensorRT, CUDA and the CPU, in order.

    Raises ValueError for a wanted one that is not present.
    """
    if missing := [name for name in wanted or () if name not in present]:
        raise ValueError(f"providers: expected some of {list(present)}, got {missing}")
    return list(wanted or (name for name in PROVIDERS if name in present))


class OnnxStep:
    """An exported step; one run of the graph. The cache stays with ONNX Runtime, on its device.

    providers: see `choose_providers`. meta: what `export` wrote beside the graph. Raises
    FileNotFoundError, or ValueError for a file that is no exported checkpoint.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        import onnxruntime

        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected an exported checkpoint, got no file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        chosen = choose_providers(onnxruntime.get_available_providers(), providers)
        self._session = onnxruntime.InferenceSession(str(path), options, providers=chosen)
        self.meta = _read_metadata(path, self._session.get_modelmeta().custom_metadata_map)
        self._device = "cpu" if self.providers[0] == PROVIDERS[-1] else "cuda"
        self._names = {each.name for each in self._session.get_inputs()}

        def zeros() -> onnxruntime.OrtValue:
            # an array of its own each time: on the CPU its memory is the value's
            array = np.zeros(self.meta["cache_shape"], np.float32)
            return onnxruntime.OrtValue.ortvalue_from_numpy(array, self._device, 0)

        # a step reads one pair of keys and values and writes the other
        self._cache, self._spare = [zeros(), zeros()], [zeros(), zeros()]

    @property
    def providers(self) -> list[str]:
        """What runs the graph, in the order of preference."""
        return self._session.get_providers()

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Action ids (B, A) of one step, which goes into the cache."""
        binding = self._session.io_binding()
        for name, array in inputs.items():
            if name in self._names:
                binding.bind_cpu_input(name, np.ascontiguousarray(array))
        binding.bind_output("action_id", "cpu")
        for name, before, after in zip("kv", self._cache, self._spare):
            binding.bind_ortvalue_input(name, before)
            binding.bind_ortvalue_output(f"{name}_after", after)
        self._session.run_with_iobinding(binding)
        self._cache, self._spare = self._spare, self._cache
        return binding.get_outputs()[0].numpy()


def load(
    path: str | Path,
    *,
    embodiment: str | None = None,
    temperature: float | None = None,
    seed: int = 0,
    providers: Sequence[str] | None = None,
    threads: int | None = None,
) -> GatoPolicy:
    """The policy of an exported checkpoint; no temperature is its own. Errors as of OnnxStep.

    Raises ValueError if it was exported for another embodiment than the one asked for.
    """
    step = OnnxStep(path, providers=providers, threads=threads)
    meta = step.meta
    name = meta["name"]
    chosen = choose({name: Embodiment.from_dict(name, meta["embodiment"])}, embodiment)
    tokenizer = Tokenizer(chosen, Vocabulary(**meta["vocabulary"]))
    return GatoPolicy(
        step,
        tokenizer,
        meta["step"],
        temperature=temperature,
        seed=seed,
        keep_prompt=meta["keep_prompt"],
        num_robots=meta["cache_shape"][2],
    )


def export(
    model: Gato,
    embodiment: Embodiment,
    out: str | Path,
    *,
    keep_prompt: bool = False,
    num_robots: int = 1,
) -> None:
    """Writes a float32 model's step of an embodiment as one ONNX file.

    Raises ValueError beyond 2 GB.
    """
    import onnx
    import torch

    from gato_core.step import ControlStep, Traced, layout

    num_bytes = sum(4 * parameter.numel() for parameter in model.parameters())
    if num_bytes > MAX_BYTES:
        raise ValueError(f"export: expected weights of at most 2 GB, got {num_bytes / 1e9:.1f} GB")
    tokenizer = Tokenizer(embodiment, model.config.vocabulary)
    step = ControlStep(model, tokenizer, num_robots)
    inputs = StepInputs(tokenizer, **layout(model.config), keep_prompt=keep_prompt)
    example = {
        name: torch.from_numpy(np.stack([array] * num_robots))
        for name, array in inputs.idle().items()
    }
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        # the exporter of TorchScript unrolls the passes within seconds and needs only onnx; the
        # newer one needs three more packages, and minutes for the same graph
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Traced(step, list(example)).eval(),  # else the model is left in training mode
            (*example.values(), step.k_NHBSK, step.v_NHBSK),
            str(out),
            input_names=[*example, "k", "v"],
            output_names=["action_id", "k_after", "v_after"],
            opset_version=OPSET,
            dynamo=False,
        )
    content = {
        "format_version": FORMAT_VERSION,
        "name": embodiment.name,
        "embodiment": embodiment.to_dict(),
        "vocabulary": vars(tokenizer.vocabulary),
        "step": layout(model.config),
        "keep_prompt": keep_prompt,
        "cache_shape": list(step.k_NHBSK.shape),
    }
    proto = onnx.load(out)
    proto.metadata_props.add(key=METADATA, value=json.dumps(content))
    onnx.save(proto, out)


def agreement(
    model: Gato, embodiment: Embodiment, exported: str | Path, num_timesteps: int
) -> float:
    """Share of action tokens on which the exported graph and torch agree, on made-up observations.

    Both go on with their own actions.
    """
    from gato_core.tools.bench import made_up

    tokenizer = Tokenizer(embodiment, model.config.vocabulary)
    policies = GatoPolicy.of(model, tokenizer, temperature=0.0), load(exported, temperature=0.0)
    rng = np.random.default_rng(0)
    same = []
    for _ in range(num_timesteps):
        observation = made_up(embodiment.spec, rng)
        ours, theirs = (tokenizer.encode_action(p.step(observation)) for p in policies)
        same.append(ours == theirs)
    return float(np.mean(same))


def main() -> int:
    from gato_core import checkpoint

    config = tyro.cli(ExportConfig, description=__doc__)
    try:
        loaded = checkpoint.load(config.checkpoint)
        embodiment = loaded.embodiment(config.embodiment)
        export(loaded.model, embodiment, config.out, keep_prompt=config.keep_prompt)
    except (ValueError, OSError) as error:
        print(f"gato export: {error}", file=sys.stderr)
        return 1
    # beyond two contexts: the graph must have met evictions
    num_timesteps = 2 * embodiment.context_timesteps + 4
    agreed = agreement(loaded.model, embodiment, config.out, num_timesteps)
    num_bytes = config.out.stat().st_size
    print(
        f"{config.out}: {num_bytes / 1e6:.1f} MB, {100 * agreed:.1f} % of action tokens as torch's"
    )
    result = {"out": str(config.out), "embodiment": embodiment.name, "bytes": num_bytes}
    print(json.dumps(result | {"agreement": agreed, "num_timesteps": num_timesteps}))
    return 0 if agreed >= MIN_AGREEMENT else 1


def _read_metadata(path: Path, properties: Mapping[str, str]) -> dict:
    meta = json.loads(properties.get(METADATA, "{}"))
    if meta.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path}: expected a checkpoint exported with format_version {FORMAT_VERSION}, "
            f"got {meta.get('format_version')}"
        )
    return meta


if __name__ == "__main__":
    sys.exit(main())
