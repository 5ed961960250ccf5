"""The embedded default: two tiny Llama checkpoints and the closed world they live in.

The student is a policy with habits worth correcting, the teacher its reviser and judge. Both were made by
`build.py` from code alone, so the whole loop runs anywhere, offline, and every answer can be checked exactly.
"""
