"""Who searches for a policy: the methods, what they are given, and the agent."""
