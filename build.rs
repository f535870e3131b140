//! Leaves the tables for unwinding out of the release binary: a panic there ends the process
//! (`panic = "abort"`) after its message, so nothing ever reads them, and they are 55 kB. And
//! puts together what PID 1 runs often, and behind the rest what it never runs: `sections.ld`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=sections.ld");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // Only where the linker is the one of .cargo/config.toml, which knows such a script.
    if variable("PROFILE") == "release" && variable("CARGO_CFG_TARGET_ENV") == "musl" {
        let script = format!("{}/sections.ld", variable("CARGO_MANIFEST_DIR"));
        println!("cargo:rustc-link-arg-bin=clawinit=-T{script}");
    }
}
