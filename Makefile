# What people do in this checkout, in one word each. The work is in cargo and in tools/.
.DEFAULT_GOAL := help
.PHONY: help run test check lint audit sbom fmt gen clients fuzz-api release-contract test-compose book picture
.PHONY: env up down ps logs log-channel psql migrate db-seed db-reset scale rolling-restart renew-certificates backup restore top admin
.PHONY: pin-images

help: ## these lines
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 26

run: ## the whole store in one process, on http://127.0.0.1:8080
	cargo run --release

test: ## everything that has to hold before a change is proposed; installs its tools into target/tools
	@tools/test

test-compose: ## the part of it that needs a container engine: the whole system in containers, hurt in every way, and compared
	@tools/test-compose

check: ## the fast part of it: formatting and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

lint: ## the contracts (redocly, buf) and the dependencies (cargo deny)
	@tools/lint

audit: ## security advisories and withdrawn versions of dependencies; needs the network. ADVISORY_DB=URL for a mirror
	@tools/audit

sbom: ## the software bill of materials of the program as the image has it, CycloneDX, into target/sbom/merch.cdx.json
	@tools/sbom "" --features kafka-tls

fmt: ## formats code and contracts
	cargo fmt --all
	@tools/install
	"$${CARGO_TARGET_DIR:-target}"/tools/node/node_modules/.bin/buf format --write

gen: ## brings gen/ up to date with openapi.yaml and proto/; compiles the generators, which other builds do without
	env -u CI cargo build --package merch-contract --features generate

clients: ## the clients of other languages, into target/clients: generated, compiled, ready to be driven through the store
	@tools/clients

fuzz-api: ## Schemathesis against whole stores for ten minutes, with a new seed; FUZZ_SECONDS=3600 FUZZ_SEED=7 for others
	@tools/fuzz-api

book: ## docs/ as a book, in target/book
	@tools/book

picture: ## the picture in the README, from a running store
	@docs/picture

release-contract: ## makes openapi.yaml and proto/ as they are the last release, and writes the entry in docs/contract-changelog.md
	@tools/install
	@tools/release-contract

# The operator's words: on the compose stack when it is there, running or not, and else on the embedded store in MERCH_DATA_DIR (merch-data), which comes first
# when it alone runs; STORE=compose|embedded decides.
env: ## writes .env with random secrets, once; the compose stack needs it. FILES=1: the secrets as files in secrets/
	@tools/operate/env

up: ## brings the compose stack up and waits until it is healthy (STORE=embedded: the store in one process, in the background)
	@tools/operate/up $(ARGS)

down: ## stops it; what is on disk stays
	@tools/operate/down $(ARGS)

ps: ## what runs, and how well
	@tools/operate/ps $(ARGS)

logs: ## what the services say; SERVICE="api db" FOLLOW=0 TAIL=1000
	@tools/operate/logs

log-channel: ## the store's events as they come; EVENT=order_placed,log_in* SUBJECT=order:ID LEVEL=warn FOLLOW=0 JSON=1
	@tools/operate/log-channel

top: ## orders, stock, failures, lag and replicas on one screen
	@tools/operate/top $(ARGS)

psql: ## SQL by hand, which only reads unless WRITE=1; SQL='SELECT 1'
	@tools/operate/psql

migrate: ## brings the schema up to date; ARGS=--status only says what is pending
	@tools/operate/migrate $(ARGS)

db-seed: ## 500 pieces of each product again; BUYERS=20 also registers buyers and places orders
	@tools/operate/db-seed

db-reset: ## removes every user and order; asks first, unless YES=1
	@tools/operate/db-reset

scale: ## how many there are of each, remembered by the next up: make scale api=3 db=2 logging=2
	@tools/operate/scale $(filter-out STORE=% MERCH_% COMPOSE_%,$(MAKEOVERRIDES))

rolling-restart: ## logging, db and api, one container at a time, without a failed request; SERVICE=api, BUILD=1 upgrades
	@tools/operate/rolling-restart

renew-certificates: ## new certificates for the roles on the inner network; "make rolling-restart" afterwards ends connections with old ones
	@tools/operate/renew-certificates

backup: ## the whole database in one file, while the store runs; FILE=…
	@tools/operate/backup

restore: ## puts a backup in the place of what is there; FILE=…, asks first, unless YES=1
	@tools/operate/restore

pin-images: ## pins the images of Dockerfile and compose files by the digests that their tags have now; look at the difference and commit it
	@tools/operate/pin-images $(ARGS)

admin: ## restock, set-price, list-users, deactivate, revoke-tokens: make admin ARGS="restock 1 --add 100"
	@tools/operate/admin $(ARGS)
