"""What a run says of itself: journal, model card, origin, memory, pictures."""
