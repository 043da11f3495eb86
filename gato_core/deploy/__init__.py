"""The control step on other runtimes: CUDA graph, ONNX, packed CPU weights."""
