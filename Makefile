# Every target works on a fresh clone with Go, git and make; what else is needed
# the targets install (Debian packages) or name.
.DEFAULT_GOAL := help
.PHONY: help run demo test fuzz fault bench bench-compare jmeter cluster cluster-down generate lint build ci

TOOLS := go tool -modfile=test/tools/go.mod

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

run: ## everything in one process on port 8080, data in ./data; Ctrl-C stops it
	go run ./app run

demo: ## fill a running instance (URL=http://127.0.0.1:8080) with people and clips
	go run ./app demo -url $(or $(URL),http://127.0.0.1:8080)

test: ## all tests, with -race, against real servers that this installs and starts
	go run ./test/run -- go test -race -timeout 30m ./...

fuzz: ## every fuzz target for a minute, or FUZZTIME=10s for less of it
	@grep -rno --include='*_test.go' '^func Fuzz[A-Za-z]*' app config mq | while IFS=: read -r file _ target; do \
		echo "== $${target#func } in $${file%/*}"; \
		go test -run '^$$' -fuzz "^$${target#func }\$$" -fuzztime $(or $(FUZZTIME),1m) "./$${file%/*}" || exit 1; \
	done

fault: ## every promise under its fault, or CASE=name; LOAD=0.3 TIME=0.3 for less of it
	go run ./test/fault -load $(or $(LOAD),1) -time $(or $(TIME),1) $(CASE)

bench: ## what every request costs, or ONLY=name; SECONDS=4 of each load, PROFILE=role, GROWTH=100 times the data
	go run ./test/bench -only "$(ONLY)" -seconds $(or $(SECONDS),4) -profile "$(PROFILE)" -growth $(or $(GROWTH),0)

bench-compare: ## two results side by side, A=old.json B=new.json (default the last two)
	go run ./test/bench compare $(or $(A),test/bench/out/previous.json) $(or $(B),test/bench/out/latest.json)

jmeter: ## the plans of test/jmeter, or ONLY=name, by JMETER=launcher; URL, ARGS="-Jthreads=50"
	go run ./test/jmeter -jmeter "$(or $(JMETER),jmeter)" -url "$(URL)" -only "$(ONLY)" -- $(ARGS)

cluster: ## real servers, two instances of each service, the gateway on 8080, Jaeger
	go run ./deploy/local/cluster up

cluster-down: ## stop exactly what `make cluster` started
	go run ./deploy/local/cluster down

generate: ## idl/*.proto -> proto/, idl/openapi.yaml -> the Postman collection, go.mod -> the list of licences
	go run ./idl/generate
	go run ./deploy/licences

lint: ## gofmt, go vet and the linter
	@test -z "$$(gofmt -l app config idl model mq test deploy)" || { gofmt -d app config idl model mq test deploy; exit 1; }
	go vet ./...
	$(TOOLS) golangci-lint run --allow-parallel-runners ./...

build: ## bin/backbeat
	CGO_ENABLED=0 go build -trimpath -o bin/backbeat ./app

ci: lint generate build ## what CI adds to the tests: lint, generated code unchanged, build
	@git diff --exit-code -- proto idl .github || { echo "proto/, the collection in idl/ or the licences in .github/ are not what make generate writes"; exit 1; }
