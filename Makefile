# Plain verbs. Everything they do is in scripts/ or on the line below them.
.PHONY: demo test quick docs install uninstall format lint types imports lock clean

demo:       ; ./scripts/demo
test:       ; ./scripts/test
quick:      ; ./scripts/test --quick
docs:       ; ./scripts/docs
install:    ; ./scripts/install
uninstall:  ; ./scripts/install --uninstall
format:     ; .venv/bin/ruff format . && .venv/bin/ruff check --fix .
lint:       ; .venv/bin/ruff check . && .venv/bin/ruff format --check .
types:      ; .venv/bin/mypy
imports:    ; .venv/bin/lint-imports --no-logo

# Pins the newest versions that requirements/*.in allow. Needs pip-tools; takes no address into the files.
PIN = pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-options \
      --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
lock:
	$(PIN) --output-file requirements/run.txt requirements/run.in
	$(PIN) --constraint requirements/run.txt --output-file requirements/install.txt requirements/install.in
	$(PIN) --constraint requirements/install.txt --output-file requirements/dev.txt requirements/dev.in

clean:      ; rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist src/*.egg-info
