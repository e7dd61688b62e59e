# What people do in this checkout, in one word each. The work is in cargo and in tools/.
.DEFAULT_GOAL := help
.PHONY: help run test check lint fmt gen clients fuzz-api release-contract

help: ## these lines
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 26

run: ## the whole store in one process, on http://127.0.0.1:8080
	cargo run --release

test: ## everything that has to hold before a change is proposed; installs its tools into target/tools
	@tools/test

check: ## the fast part of it: formatting and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

lint: ## the contracts (redocly, buf) and the dependencies (cargo deny)
	@tools/lint

fmt: ## formats code and contracts
	cargo fmt --all
	@tools/install
	"$${CARGO_TARGET_DIR:-target}"/tools/node/node_modules/.bin/buf format --write

gen: ## brings gen/ up to date with openapi.yaml and proto/, as every build without CI does
	env -u CI cargo build

clients: ## the clients of other languages, into target/clients: generated, compiled, ready to be driven through the store
	@tools/clients

fuzz-api: ## Schemathesis against whole stores for ten minutes, with a new seed; FUZZ_SECONDS=3600 FUZZ_SEED=7 for others
	@tools/fuzz-api

release-contract: ## makes openapi.yaml and proto/ as they are the last release, and writes the entry in docs/contract-changelog.md
	@tools/install
	@tools/release-contract
