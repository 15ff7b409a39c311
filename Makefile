# Every target installs what it needs, says so, and is quick the second time.
SHELL := /bin/bash
NODE := node_modules/.bin/node
STAMP := node_modules/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test lint tools build bench clean

help: ## Show this list
	@echo 'etcd-snapshot-operator: make TARGET, where TARGET is one of'
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | awk -F '\t' '{printf "  %-7s %s\n", $$1, $$2}'

demo: build ## The main job on a real etcd, kube-apiserver and S3 server (first run about 8 minutes, then seconds)
	@echo '==> tools of the demo (the first time they are built from source, about 6 minutes)'
	@$(NODE) test/tools/toolbox.ts --demo
	@$(NODE) test/demo/demo.ts

test: build ## All tests, on real servers (the first time 15 minutes to build them, then 15 for the tests)
	@echo '==> tools of the tests (the first time they are built from source, about 10 minutes)'
	@scripts/install-packages unzip:unzip python3:python3 fish:fish zsh:zsh mandoc:mandoc
	@$(NODE) test/tools/toolbox.ts --test
	@echo '==> unit and integration tests'
	@$(NODE) node_modules/vitest/vitest.mjs run

lint: $(STAMP) ## Format, lint rules, import borders, types, dead code (about 20 seconds)
	@echo '==> biome: format and rules'
	@$(NODE) node_modules/@biomejs/biome/bin/biome check --error-on-warnings .
	@echo '==> tsc: types'
	@$(NODE) node_modules/typescript/bin/tsc -p .
	@echo '==> oxlint: promises, import borders, cycles, file length'
	@$(NODE) node_modules/oxlint/bin/oxlint --type-aware --deny-warnings src test bench scripts
	@echo '==> knip: unused files, exports and dependencies'
	@$(NODE) node_modules/knip/bin/knip.js

tools: $(STAMP) ## Build every server and peer from pinned sources into the cache (about 12 minutes, once)
	@$(NODE) test/tools/toolbox.ts --all

build: $(STAMP) ## Bundle the command line into dist/, for ./bin/etcd-snapshot (seconds)
	@$(NODE) scripts/build.ts

bench: build ## Measure saving, restoring and S3 against etcdctl, etcdutl, Go's zip, rclone and the AWS SDK, and the operator at scale; writes bench/results/ (about 45 minutes)
	@scripts/install-packages /usr/bin/time:time
	@$(NODE) test/tools/toolbox.ts --bench
	@$(NODE) bench/bench.ts
	@$(NODE) bench/s3.ts
	@$(NODE) bench/operator.ts
	@$(NODE) bench/restore.ts
	@$(NODE) bench/large.ts

clean: ## Remove what was built here; the cache of tools stays
	rm -rf dist test-results .test-programs-* node_modules

$(STAMP): package.json package-lock.json
	@command -v npm >/dev/null || { echo 'npm is missing: install Node.js with npm (any version from 20 on) first' >&2; exit 1; }
	@echo '==> npm install: dependencies, as the lock file has them, and the Node that runs everything (half a minute)'
	@# Not npm ci: npm 11 leaves packages of other platforms out of the lock file, and its ci then misses them.
	@# --no-save: another npm would write the lock file its own way; the locked versions are installed all the same.
	@npm install --no-save --no-audit --no-fund --loglevel=error
	@touch $@
