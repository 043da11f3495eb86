"""The agent: spec, tokens, the network, its cache and the policy. Imports no other room."""
