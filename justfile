# Everything that CI runs: the same script.
ci:
    .ci/run

# The tests, as the README says them.
test:
    cargo test --workspace

# Breaks everything in every way that is known, for some minutes: one scoreboard, and an error if a
# promise was broken. `just prove --save docs/reliability.md` keeps each figure as it comes.
prove *ARGS:
    cargo build --release -p queuectl-cli -p prove
    target/release/prove all {{ARGS}}

# The same for some hours; `just prove-long storm power` runs only these.
prove-long *ARGS:
    just prove --long {{ARGS}}

# Figures beside bare SQL; `just bench --save` writes them to benches/results.
bench *ARGS:
    cargo build --release -p queuectl-cli
    cargo bench -p benches --bench queue -- {{ARGS}}

# The same work on other queues: builds them, then runs ours and theirs in turns.
bench-peers *ARGS:
    cd benches/peers/effectum && cargo build --release --locked
    cd benches/peers/honker && cargo build --release --locked
    cd benches/peers/apalis-sqlite && cargo build --release --locked
    just bench --peers 'peer' {{ARGS}}

# The licences and known faults of the dependencies (needs cargo-deny).
deny:
    cargo deny check

# The documents, with warnings denied.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Fuzzes each target for so many seconds (needs a nightly toolchain and cargo-fuzz).
fuzz SECONDS="60":
    fuzz/run {{SECONDS}}
