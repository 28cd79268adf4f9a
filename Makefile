# The README's two commands first; each does its own set-up. `make` alone says what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help demo test conformance surprises lint image postgres-image bench clean-brokers

# Debian release whose RabbitMQ is built into an image where no registry answers: trixie has 4.0.
# (`.ci/broker-image` ends with a line that begins with the image's name.)
DEBIAN ?= trixie
SCENARIO ?= scenarios/quickstart.toml
TARGET := $${CARGO_TARGET_DIR:-target}

help: ## Say what there is
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 20

demo: ## Start a broker, load it, account for every message, and judge: SCENARIO=scenarios/quickstart.toml
	@.ci/need rust docker
	.ci/packages cc=build-essential
	made=$$(.ci/broker-image $(DEBIAN) | tail -n 1)
	echo "$$made"
	cargo build --release --locked
	LURCHER_BROKER_IMAGE=$${made%% *} $(TARGET)/release/lurcher run $(SCENARIO)

test: ## Run all tests, those against real brokers among them
	@.ci/need rust docker
	.ci/packages cc=build-essential rabbitmq-server=rabbitmq-server postgres=postgresql
	.ci/postgres-image
	made=$$(.ci/broker-image $(DEBIAN) | tail -n 1)
	echo "$$made"
	LURCHER_BROKER_IMAGE=$${made%% *} cargo test --locked --no-fail-fast

conformance: ## Run what every client must do against the broker of a Debian release: DEBIAN=bookworm|trixie|sid
	@.ci/need rust docker
	.ci/packages cc=build-essential
	made=$$(.ci/broker-image $(DEBIAN) | tail -n 1)
	echo "$$made"
	LURCHER_BROKER_IMAGE=$${made%% *} cargo test --locked --test client_conformance

surprises: ## Run the surprising scenarios that are for the broker of a Debian release: DEBIAN=bookworm|trixie|sid
	@.ci/need rust docker
	.ci/packages cc=build-essential
	made=$$(.ci/broker-image $(DEBIAN) | tail -n 1)
	echo "$$made"
	LURCHER_BROKER_IMAGE=$${made%% *} cargo test --locked --test shipped surprises

lint: ## Hold the format and clippy's warnings as errors
	@.ci/need rust
	.ci/packages cc=build-essential
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

image: ## Make the broker's image: pulled where a registry answers, else built from Debian's packages
	@.ci/need docker
	.ci/broker-image $(DEBIAN)

postgres-image: ## Make PostgreSQL's image, for machines without its server: pulled, else built from Debian's packages
	@.ci/need docker
	.ci/postgres-image

bench: ## Run the benches, the last beside other clients on a real broker (PEERS="--only growth --long"); target/bench
	@.ci/need rust docker
	.ci/packages cc=build-essential valgrind=valgrind
	made=$$(.ci/broker-image $(DEBIAN) | tail -n 1)
	echo "$$made"
	cargo bench --locked --bench instructions
	cargo bench --locked $(patsubst benches/%.rs,--bench %,$(wildcard benches/*.rs))
	LURCHER_BROKER_IMAGE=$${made%% *} cargo bench --locked --bench peers -- $(PEERS)

clean-brokers: ## Remove every container that lurcher started, brokers and PostgreSQL, those of runs in progress too
	@.ci/need docker
	docker ps --all --quiet --filter label=lurcher.run | xargs --no-run-if-empty docker rm --force --volumes
