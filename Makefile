# The few commands of this repository. `make test ARGS=journey` passes its arguments on to cargo test.

BUF := .tools/bin/buf
BASELINE := tests/baseline/countersign.binpb

.PHONY: simulate capacity help build run test planted check fmt fmt-check clippy deny proto-baseline clean

help:
	@echo 'make build           the release binary'
	@echo 'make run             build and serve on SQLite under ./countersign-data'
	@echo 'make test [ARGS=…]   everything, or what matches; installs what it needs'
	@echo 'make planted         plant each known bug (ARGS=NAME: one), and demand that the tests notice'
	@echo 'make simulate        the replica protocol in virtual time, on SEEDS=… seeds (a failing one is printed)'
	@echo 'make check           formatting, clippy, cargo-deny'
	@echo 'make capacity        memory and start-up time of 1,000,000 keys (KEYS=… for another number)'
	@echo 'make fmt             format the sources'
	@echo 'make proto-baseline  accept the present proto files as what must stay compatible'
	@echo 'make clean           remove what was built and installed here (not ./countersign-data)'

build:
	cargo build --release --locked

run:
	cargo run --release --locked -- serve

test:
	python3 tests/run.py $(ARGS)

planted:
	python3 tests/tooling/planted.py $(ARGS)

check: fmt-check clippy deny

fmt:
	cargo fmt

fmt-check:
	cargo fmt --check

clippy:
	cargo clippy --all-targets --locked -- -D warnings

deny:
	python3 tests/tooling/deny.py

SEEDS ?= 5000
simulate:
	CSTEST_SEEDS=$(SEEDS) cargo test --locked --release --test it simulation -- --nocapture

KEYS ?= 1000000
capacity:
	cargo bench --locked --bench capacity -- --keys $(KEYS)

proto-baseline:
	python3 tests/run.py --tools-only
	mkdir -p $(dir $(BASELINE))
	$(BUF) build proto --exclude-source-info -o $(BASELINE)

clean:
	cargo clean
	rm -rf .tools
