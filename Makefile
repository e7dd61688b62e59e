# Commands for developers and operators. The work is done by cargo and tools/.
.DEFAULT_GOAL := help
.PHONY: help run test check lint audit sbom fmt gen clients fuzz fuzz-api simulate simulate-coverage chaos soak
.PHONY: release-contract test-compose
.PHONY: book picture
.PHONY: env up down ps logs log-channel psql migrate db-seed db-reset scale rolling-restart
.PHONY: renew-certificates backup restore top admin
.PHONY: pin-images

help: ## lists these commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 26

run: ## runs the whole store in one process, on http://127.0.0.1:8080
	cargo run --release

test: ## runs all tests and checks; installs its tools into target/tools
	@tools/test

test-compose: ## runs the container tests: the whole system under faults and operations
	@tools/test-compose

check: ## checks formatting and runs clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

lint: ## checks the contracts (redocly, oasdiff, buf) and the dependencies (cargo deny)
	@tools/lint

audit: ## checks dependencies for security advisories and yanked versions; needs the network; ADVISORY_DB=URL for a mirror
	@tools/audit

sbom: ## writes the image's software bill of materials, CycloneDX, to target/sbom/merch.cdx.json
	@tools/sbom "" --features kafka-tls

fmt: ## formats code and contracts
	cargo fmt --all
	@tools/install
	"$${CARGO_TARGET_DIR:-target}"/tools/node/node_modules/.bin/buf format --write

gen: ## regenerates gen/ from openapi.yaml and proto/; compiles the generators
	env -u CI cargo build --package merch-contract --features generate

clients: ## generates and compiles clients in other languages in target/clients
	@tools/clients

SIMULATED := --release --package merch-chassis --package merch-db --package merch-logging \
  --no-default-features --features merch-logging/client,merch-logging/server --lib

simulate: ## runs simulated histories of faults and models of threads; SEEDS=100000 of each, from SEED=0 on
	@SIMULATION_SEEDS=$(or $(SEEDS),100000) SIMULATION_SEED=$(or $(SEED),0) \
	  cargo test $(SIMULATED) -- promises_hold threads:: | awk '{ print } \
	  /^test result: ok\. [1-9]/ { packages++ } \
	  END { if (packages != 3) { print "expected scenarios of 3 packages to pass, found " \
	  packages + 0; exit 1 } }'

simulate-coverage: ## measures the code that the histories reach; SEEDS=3000 of each scenario
	@SIMULATION_SEEDS=$(or $(SEEDS),3000) tools/simulate-coverage $(SIMULATED)

chaos: ## runs the store under faults of processes, networks, disks and clocks; SEED=1 MINUTES=1 RUNS=1 STORE=roles|embedded
	@tools/chaos

soak: ## runs the store for an hour at half its peak rate and checks that nothing grows; MINUTES=60 STORE=roles|embedded
	@MINUTES=$(or $(MINUTES),60) tools/chaos --soak

fuzz: ## runs the fuzz targets, each for a minute; TARGET=json SECONDS=3600, MINIMISE=1 adds to fuzz/corpus
	@FUZZ_TARGET=$(TARGET) FUZZ_SECONDS=$(or $(SECONDS),60) FUZZ_MINIMISE=$(MINIMISE) tools/fuzz

fuzz-api: ## runs Schemathesis against whole stores for ten minutes; FUZZ_SECONDS=3600 FUZZ_SEED=7
	@tools/fuzz-api

book: ## builds docs/ as a book, in target/book
	@tools/book

picture: ## takes the picture in the README from a running store
	@docs/picture

release-contract: ## releases openapi.yaml and proto/ and adds the entry to docs/contract-changelog.md
	@tools/install
	@tools/release-contract

# Operations commands. They work on the compose stack if it exists, running or not, otherwise on the
# embedded store in MERCH_DATA_DIR (merch-data), which has precedence if only it runs.
# STORE=compose|embedded selects one.
env: ## creates .env with random secrets for the compose stack; FILES=1: the secrets as files in secrets/
	@tools/operate/env

up: ## starts the compose stack and waits until it is healthy; STORE=embedded: the store in one process, in the background
	@tools/operate/up $(ARGS)

down: ## stops the store; its data stays
	@tools/operate/down $(ARGS)

ps: ## shows containers or addresses, and their health
	@tools/operate/ps $(ARGS)

logs: ## follows the services' logs; SERVICE="api db" FOLLOW=0 TAIL=1000
	@tools/operate/logs

log-channel: ## follows the store's events; EVENT=order_placed,log_in* SUBJECT=order:ID LEVEL=warn FOLLOW=0 JSON=1
	@tools/operate/log-channel

top: ## shows live orders, stock, failures, lag and replicas
	@tools/operate/top $(ARGS)

psql: ## opens an SQL prompt, read-only unless WRITE=1; SQL='SELECT 1'
	@tools/operate/psql

migrate: ## migrates the schema; ARGS=--status only prints pending migrations
	@tools/operate/migrate $(ARGS)

db-seed: ## sets the stock to 500 pieces of each product; BUYERS=20 also registers buyers and places orders
	@tools/operate/db-seed

db-reset: ## deletes all users and orders; asks first, unless YES=1
	@tools/operate/db-reset

scale: ## sets the replicas, now and in .env: make scale api=3 db=2 logging=2
	@tools/operate/scale $(filter-out STORE=% MERCH_% COMPOSE_%,$(MAKEOVERRIDES))

rolling-restart: ## restarts logging, db and api, one container at a time, without failed requests; SERVICE=api, BUILD=1 upgrades
	@tools/operate/rolling-restart

renew-certificates: ## renews the roles' certificates; "make rolling-restart" afterwards closes connections with old ones
	@tools/operate/renew-certificates

backup: ## writes the database to one file, while the store runs; FILE=…
	@tools/operate/backup

restore: ## replaces the database with a backup; FILE=…, asks first, unless YES=1
	@tools/operate/restore

pin-images: ## pins the images of Dockerfile and compose files to the current digests of their tags
	@tools/operate/pin-images $(ARGS)

admin: ## runs merch admin: make admin ARGS="restock 1 --add 100"
	@tools/operate/admin $(ARGS)
