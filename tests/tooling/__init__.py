"""What tests/run.py is made of: the tools, the throwaway PostgreSQL, the cargo run, the canary scan."""
