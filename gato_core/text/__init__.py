"""Words as tokens: the vocabulary, documents with images, and text generation."""
