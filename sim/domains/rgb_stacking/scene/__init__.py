"""The benchmark's scene: model files, composition, compilation and cameras."""
