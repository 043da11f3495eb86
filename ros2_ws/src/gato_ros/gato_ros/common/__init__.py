"""What every node needs: messages, topics, parameters, processes."""
