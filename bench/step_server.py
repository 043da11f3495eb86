"""Takes a control step of a checkpoint for each line it reads, by the code of any checkout.

    python bench/step_server.py CHECKOUT CHECKPOINT

It answers with milliseconds of wall and of CPU time; `control_step.py --before` asks it.
"""

import sys
import time

checkout, checkpoint = sys.argv[1:]
sys.path.insert(0, checkout)

import numpy as np  # noqa: E402  after the path that decides whose code is measured
import torch  # noqa: E402

import gato_core  # noqa: E402
import gato_core.policy  # noqa: E402
from gato_core.tools.bench import made_up  # noqa: E402

assert (gato_core.__file__ or "").startswith(checkout), gato_core.__file__
torch.set_num_threads(1)
# until the commit after 5fefca9 loading was the class's
load = getattr(gato_core.policy, "load", None) or gato_core.policy.GatoPolicy.load
policy = load(checkpoint, temperature=0.0)
rng = np.random.default_rng(0)
for _ in sys.stdin:
    observation = made_up(policy.spec, rng)
    wall, cpu = time.perf_counter(), time.process_time()
    policy.step(observation)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(1e3 * wall, 1e3 * cpu, flush=True)
