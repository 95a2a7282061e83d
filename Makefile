# The few commands of this repository. `make test ARGS=journey` passes its arguments on to cargo test.

BUF := .tools/bin/buf
BASELINE := tests/baseline/countersign.binpb

.PHONY: bench bench-baseline bench-compare bench-envoy bench-postgres simulate capacity help build run test planted check \
	fmt fmt-check clippy deny proto-baseline chart-values clean

help:
	@echo 'make build           the release binary'
	@echo 'make run             build and serve on SQLite under ./countersign-data'
	@echo 'make test [ARGS=…]   everything, or what matches; installs what it needs'
	@echo 'make planted         plant each known bug (ARGS=NAME: one), and demand that the tests notice'
	@echo 'make simulate        the replica protocol in virtual time, on SEEDS=… seeds (a failing one is printed)'
	@echo 'make check           formatting, clippy, cargo-deny'
	@echo 'make bench           what a Verify costs, against its bars (ARGS="--keys 10000000" adds a store; --help)'
	@echo 'make bench-postgres  the same, and what replicas on one PostgreSQL cost'
	@echo 'make bench-envoy     what a gateway asking costs: one Envoy with and without the filter, in turns'
	@echo 'make bench-compare   what changed since the kept baseline; bench-baseline keeps the latest run'
	@echo 'make capacity        memory and start-up time of 1,000,000 keys (KEYS=… for another number)'
	@echo 'make fmt             format the sources'
	@echo 'make proto-baseline  accept the present proto files as what must stay compatible'
	@echo 'make chart-values    what the chart copies: its table of values (from values.yaml), and ops/alerts.yaml'
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

bench:
	cargo bench --locked --bench verify -- $(ARGS)

bench-postgres:
	python3 benches/postgres.py $(ARGS)

bench-envoy:
	python3 tests/run.py --tools-only
	cargo bench --locked --bench envoy -- $(ARGS)

bench-compare:
	cargo bench --locked --bench verify -- compare $(ARGS)

bench-baseline:
	cp target/bench/latest.json benches/baseline.json

SEEDS ?= 5000
simulate:
	CSTEST_SEEDS=$(SEEDS) cargo test --locked --release --test it simulation -- --nocapture

KEYS ?= 1000000
capacity:
	cargo bench --locked --bench verify -- --capacity --main-keys $(KEYS) --save target/bench/capacity.json

proto-baseline:
	python3 tests/run.py --tools-only
	mkdir -p $(dir $(BASELINE))
	$(BUF) build proto --exclude-source-info -o $(BASELINE)

chart-values:
	python3 tests/run.py --tools-only
	.tools/bin/python helm/values_table.py
	cp ops/alerts.yaml helm/countersign/files/alerts.yaml

clean:
	cargo clean
	rm -rf .tools
