//! The structure that ARCHITECTURE.md draws, held against the code: its tables are the rules, so neither can change without the other.

mod architecture;
mod source;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use architecture::Architecture;
use source::{Source, sources};

/// Lines past which a file is two files (CONTRIBUTING.md).
const FILE_LINES_MAX: usize = 800;

#[test]
fn a_module_uses_only_lower_layers_or_its_own_folder() {
    let architecture = Architecture::read();
    let mut faults = Vec::new();
    for source in sources("src") {
        // The roots join everything: the library lists its modules, the binary starts the top one.
        let Some(own) = source.module() else { continue };
        let Some(layer) = architecture.layer_of(own) else {
            faults.push(format!("{}: `{own}` stands in no layer of ARCHITECTURE.md", source.path));
            continue;
        };
        for (used, line) in source.own_modules_named() {
            if used == own {
                continue;
            }
            match architecture.layer_of(&used) {
                Some(lower) if lower < layer => {}
                Some(other) => faults.push(format!("{}:{line}: `{own}` of layer {layer} names `{used}` of layer {other}", source.path)),
                None => faults.push(format!("{}:{line}: `{used}` stands in no layer of ARCHITECTURE.md", source.path)),
            }
        }
    }
    none(&faults);
}

#[test]
fn every_module_of_the_library_stands_in_exactly_one_layer() {
    let architecture = Architecture::read();
    let declared = Source::read("src/lib.rs").modules_declared();
    let mut listed = architecture.modules();
    listed.sort();
    assert_eq!(listed, declared, "ARCHITECTURE.md (left) and src/lib.rs (right) list the same modules, each once");
}

#[test]
fn a_library_is_named_only_where_architecture_md_says() {
    let architecture = Architecture::read();
    let mut faults = Vec::new();
    for source in sources("src") {
        for (library, line) in source.crates_named() {
            if let Some(places) = architecture.places_of(&library)
                && !places.iter().any(|place| source.is_in(place))
            {
                faults.push(format!("{}:{line}: names `{library}`, which only {places:?} may", source.path));
            }
        }
    }
    none(&faults);
}

#[test]
fn every_optional_dependency_has_its_place_in_architecture_md() {
    let architecture = Architecture::read();
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let missing: Vec<_> = manifest
        .lines()
        .filter(|line| line.contains("optional = true"))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| architecture.places_of(&name.replace('-', "_")).is_none())
        .collect();
    assert!(missing.is_empty(), "no folder of ARCHITECTURE.md is allowed to name {missing:?}");
}

#[test]
fn unsafe_code_stands_in_the_driver_only_and_each_says_why() {
    let mut faults = Vec::new();
    for source in sources("src") {
        for line in source.lines_of_ident("unsafe") {
            if !source.is_in("driver/") {
                faults.push(format!("{}:{line}: unsafe code outside driver/", source.path));
            } else if !source.comment_before(line).contains("SAFETY:") {
                faults.push(format!("{}:{line}: no `// SAFETY:` comment above", source.path));
            }
        }
    }
    none(&faults);
}

#[test]
fn no_file_is_two_files() {
    let folders = ["src", "benches", "tests", "web/src"];
    let long = folders.iter().flat_map(|folder| sources(folder)).filter(|source| source.text.lines().count() > FILE_LINES_MAX);
    none(
        &long.map(|source| format!("{}: {} lines, {FILE_LINES_MAX} at most", source.path, source.text.lines().count())).collect::<Vec<_>>(),
    );
}

#[test]
fn every_function_that_architecture_md_names_exists() {
    let sources = sources("src");
    let paths = Architecture::read().paths_named();
    let missing: Vec<_> = paths.iter().filter(|(owner, name)| !sources.iter().any(|source| source.defines(owner, name))).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what src/ does not define: {missing:?}");
}

/// design.md's promise: without the feature `driver` nothing is linked that could do I/O.
#[test]
fn the_pure_core_depends_on_no_io_crate() {
    let architecture = Architecture::read();
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            "nexus-gateway",
            "--no-default-features",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(root())
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("crate names");
    let linked: BTreeSet<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).map(|name| name.replace('-', "_")).collect();
    assert!(linked.contains("str0m"), "this is the core's tree: {linked:?}");
    let mut shells = architecture.libraries_of_shells();
    // Only declarations: whoever asks the kernel for random bytes needs them.
    shells.remove("libc");
    let found: Vec<_> = linked.iter().filter(|name| shells.contains(*name) || IO_CRATES.contains(&name.as_str())).collect();
    assert!(found.is_empty(), "the pure core depends on {found:?}");
}

/// What does I/O without being named by us.
const IO_CRATES: [&str; 7] = ["async_io", "engineioxide", "io_uring", "mio", "polling", "reqwest", "rdkafka"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
